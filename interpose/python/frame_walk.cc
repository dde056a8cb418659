#include "interpose/python/frame_walk.h"

#include <cstring>

#include "interpose/record/hash.h"

namespace oomtrace {
namespace {

constexpr int kDeepest = 1024;            // frames looked at for the outermost module
constexpr uint8_t kOwnedByGenerator = 1;  // _PyInterpreterFrame.owner, CPython 3.11 and later
constexpr uint8_t kOwnedByC = 3;  // and above: entry frames of the C stack, which run no Python code (3.12 and later)

template <typename T>
T Load(const void* base, int32_t offset) {
  T value;
  memcpy(&value, static_cast<const uint8_t*>(base) + offset, sizeof(value));
  return value;
}

const uint8_t* Pointer(const void* base, int32_t offset) { return Load<const uint8_t*>(base, offset); }

const uint8_t* Untagged(const FrameLayout& layout, const uint8_t* reference) {
  return reinterpret_cast<const uint8_t*>(reinterpret_cast<uintptr_t>(reference) & ~layout.tag_mask);
}

const uint8_t* InnermostFrame(const FrameLayout& layout, const void* thread) {
  const uint8_t* frame = Pointer(thread, layout.thread_frame);
  if (layout.cframe >= 0 && frame != nullptr) frame = Pointer(frame, layout.cframe);
  return frame;
}

// False for frames that are not at a statement yet, or never are.
bool ReadFrame(const FrameLayout& layout, const uint8_t* frame, RawFrame* raw) {
  const uint8_t owner = layout.owner >= 0 ? frame[layout.owner] : 0;
  if (owner >= kOwnedByC) return false;
  const uint8_t* code = Untagged(layout, Pointer(frame, layout.code));
  if (code == nullptr) return false;
  if (layout.instruction_is_index) {
    raw->instruction = Load<int32_t>(frame, layout.instruction) * 2;  // code units of two bytes
  } else {
    raw->instruction = static_cast<int32_t>(Pointer(frame, layout.instruction) - (code + layout.bytecode));
    if (layout.first_traceable >= 0 && owner != kOwnedByGenerator &&
        raw->instruction < Load<int32_t>(code, layout.first_traceable) * 2) {
      return false;
    }
  }
  raw->code = code;
  raw->locals = frame + layout.locals;
  // Code objects die (generated functions, lambdas) and others take their address: the name of the file and the first
  // line tell them apart.
  raw->hash =
      Mix(reinterpret_cast<uintptr_t>(code) ^ static_cast<uint64_t>(Load<uint32_t>(code, layout.first_line)) << 48,
          static_cast<uint64_t>(raw->instruction) << 40 ^ reinterpret_cast<uintptr_t>(Pointer(code, layout.filename)));
  return true;
}

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

// A PyUnicodeObject in compact form. From 3.10 to 3.12 the state word after length and hash holds: interned 2 bits,
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

int VariableCount(const FrameLayout& layout, const RawFrame& frame) {
  return Load<int32_t>(frame.code, layout.variables);
}

uint64_t FrameLocal(const FrameLayout& layout, const RawFrame& frame, int index) {
  return reinterpret_cast<uint64_t>(Untagged(layout, Pointer(frame.locals, index * 8)));
}

void WalkFrames(const FrameLayout& layout, const void* thread, const void* module_call, RawStack* stack) {
  stack->count = 0;
  stack->truncated = false;
  stack->module = stack->root_module = 0;
  uint64_t hash = 0;
  int depth = 0;
  for (const uint8_t* frame = InnermostFrame(layout, thread); frame != nullptr && depth < kDeepest;
       frame = Pointer(frame, layout.previous), ++depth) {
    RawFrame raw;
    if (!ReadFrame(layout, frame, &raw)) continue;
    if (raw.code == module_call) {
      stack->root_module = reinterpret_cast<uint64_t>(Untagged(layout, Pointer(frame, layout.locals)));
      if (stack->module == 0) stack->module = stack->root_module;
    }
    if (stack->count == kMostFrames) {
      stack->truncated = true;
      if (module_call == nullptr) break;
      continue;
    }
    hash = Mix(hash, raw.hash);
    stack->frames[stack->count++] = raw;
  }
  stack->hash = Mix(Mix(hash, stack->module), stack->root_module);
}

size_t FrameFile(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity) {
  return ReadString(layout, Pointer(frame.code, layout.filename), buffer, capacity);
}

size_t FrameFunction(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity) {
  return ReadString(layout, Pointer(frame.code, layout.name), buffer, capacity);
}

}  // namespace oomtrace
