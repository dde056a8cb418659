// The names of a frame: strings of the interpreter, read raw.
#include <cstring>

#include "interpose/python/frame_walk.h"
#include "interpose/python/raw_memory.h"

namespace oomtrace {
namespace {

size_t EncodeUtf8(uint32_t point, char* out) {
  if (point < 0x80) {
    out[0] = static_cast<char>(point);
    return 1;
  }
  if (point < 0x800) {
    out[0] = static_cast<char>(0xc0 | point >> 6);
    out[1] = static_cast<char>(0x80 | (point & 0x3f));
    return 2;
  }
  if (point >= 0xd800 && point < 0xe000) point = 0xfffd;  // a lone surrogate: a file name that is not UTF-8
  if (point < 0x10000) {
    out[0] = static_cast<char>(0xe0 | point >> 12);
    out[1] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
    out[2] = static_cast<char>(0x80 | (point & 0x3f));
    return 3;
  }
  out[0] = static_cast<char>(0xf0 | point >> 18);
  out[1] = static_cast<char>(0x80 | (point >> 12 & 0x3f));
  out[2] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
  out[3] = static_cast<char>(0x80 | (point & 0x3f));
  return 4;
}

// A PyUnicodeObject in compact form. From 3.9 to 3.14 the state word after length and hash holds: interned 2 bits,
// kind 3 bits (bytes a character), compact 1 bit, ascii 1 bit.
size_t ReadString(const FrameLayout& layout, const uint8_t* string, char* buffer, size_t capacity) {
  if (string == nullptr) return 0;
  const auto length = static_cast<size_t>(Load<int64_t>(string, 16));
  const auto state = Load<uint32_t>(string, 32);
  const uint32_t kind = state >> 2 & 7;
  const bool compact = state >> 5 & 1, ascii = state >> 6 & 1;
  if (!compact || (kind != 1 && kind != 2 && kind != 4)) return 0;
  const uint8_t* characters = string + (ascii ? layout.ascii_characters : layout.compact_characters);
  if (ascii) {
    const size_t size = length < capacity ? length : capacity;
    memcpy(buffer, characters, size);
    return size;
  }
  size_t size = 0;
  for (size_t i = 0; i < length && size + 4 <= capacity; ++i) {
    uint32_t point = 0;
    memcpy(&point, characters + i * kind, kind);
    size += EncodeUtf8(point, buffer + size);
  }
  return size;
}

}  // namespace

size_t FrameFile(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity) {
  return ReadString(layout, Pointer(frame.code, layout.filename), buffer, capacity);
}

size_t FrameFunction(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity) {
  return ReadString(layout, Pointer(frame.code, layout.name), buffer, capacity);
}

}  // namespace oomtrace
