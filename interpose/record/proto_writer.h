// Writes protobuf's wire format into a caller's buffer: no allocation, no runtime library. The caller reserves enough
// bytes; what does not fit is not written and ok() turns false, so a record is either whole or not there.
//
// Zero values are left out, as proto3 does. Nested messages get the shortest length prefix, so the bytes are the ones
// that libprotobuf would write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace oomtrace {

class ProtoWriter {
 public:
  static constexpr uint32_t kLengthDelimited = 2;  // the wire type of what has a length

  ProtoWriter(uint8_t* begin, size_t capacity) : position_(begin), end_(begin + capacity) {}

  bool ok() const { return ok_; }
  uint8_t* position() const { return position_; }

  void Uint(uint32_t field, uint64_t value) {
    if (value == 0) return;
    Element(field, value);
  }
  void Sint(uint32_t field, int64_t value) { Uint(field, ZigZag(value)); }
  void Int(uint32_t field, int64_t value) { Uint(field, static_cast<uint64_t>(value)); }
  void Bool(uint32_t field, bool value) { Uint(field, value ? 1 : 0); }

  void Bytes(uint32_t field, const void* data, size_t size) {
    if (size == 0) return;
    RepeatedBytes(field, data, size);
  }
  // An element of a repeated field: written even where it is empty.
  void RepeatedBytes(uint32_t field, const void* data, size_t size) {
    Varint(Tag(field, kLengthDelimited));
    Varint(size);
    if (!Fits(size)) return;
    memcpy(position_, data, size);
    position_ += size;
  }
  void Text(uint32_t field, const char* text) { Bytes(field, text, strlen(text)); }

  // A packed repeated field: Begin, then Packed for each element, then End.
  void Packed(uint64_t value) { Varint(value); }

  // Fields that are encoded already.
  void Raw(const void* data, size_t size) {
    if (!ok_ || !Fits(size)) return;
    memcpy(position_, data, size);
    position_ += size;
  }

  // Opens a length-delimited field; hand the result to End.
  uint8_t* Begin(uint32_t field) {
    Varint(Tag(field, kLengthDelimited));
    uint8_t* length = position_;
    if (Fits(1)) ++position_;
    return length;
  }
  void End(uint8_t* length) {
    if (!ok_) return;
    const size_t size = static_cast<size_t>(position_ - length) - 1;
    if (size < 0x80) {  // every event of the hot path
      *length = static_cast<uint8_t>(size);
      return;
    }
    const size_t extra = VarintSize(size) - 1;
    if (!Fits(extra)) return;
    memmove(length + 1 + extra, length + 1, size);
    position_ = length;
    Varint(size);
    position_ += size;
  }

  static constexpr uint64_t ZigZag(int64_t value) {
    return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
  }

 private:
  static constexpr ptrdiff_t kLongestVarint = 10;  // a 64-bit value, 7 bits a byte
  static constexpr uint32_t kVarint = 0;

  static constexpr uint32_t Tag(uint32_t field, uint32_t type) { return field << 3 | type; }

  bool Fits(size_t size) {
    if (ok_ && static_cast<size_t>(end_ - position_) >= size) return true;
    ok_ = false;
    return false;
  }
  void Element(uint32_t field, uint64_t value) {
    Varint(Tag(field, kVarint));
    Varint(value);
  }
  void Varint(uint64_t value) {
    if (!ok_) return;
    if (end_ - position_ < kLongestVarint && static_cast<size_t>(end_ - position_) < VarintSize(value)) {
      ok_ = false;
      return;
    }
    while (value >= 0x80) {
      *position_++ = static_cast<uint8_t>(value) | 0x80;
      value >>= 7;
    }
    *position_++ = static_cast<uint8_t>(value);
  }
  static size_t VarintSize(uint64_t value) {
    size_t size = 1;
    while ((value >>= 7) != 0) ++size;
    return size;
  }

  uint8_t* position_;
  uint8_t* end_;
  bool ok_ = true;
};

}  // namespace oomtrace
