// Reads the protobuf wire format that ProtoWriter wrote, for folding: the recorder's own chunks, also while
// their writers go on, up to what was committed before. Whatever does not parse ends the reading; nothing outside the
// given bytes is touched.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "interpose/record/wire.h"

namespace oomtrace {

class WireReader {
 public:
  WireReader(const uint8_t* data, size_t size) : position_(data), end_(data + size) {}

  // The next field; false at the end. Exactly one of value() and bytes() is meant, by is_bytes().
  bool Next() {
    start_ = position_;
    uint64_t tag;
    if (position_ >= end_ || !Varint(&tag)) return false;
    field_ = static_cast<uint32_t>(tag >> 3);
    is_bytes_ = (tag & 7) == 2;
    if (!is_bytes_) return (tag & 7) == 0 && Varint(&value_);
    uint64_t size;
    if (field_ == wire::kCompact ? !RunLength(&size) : !Varint(&size)) return false;
    if (size > static_cast<uint64_t>(end_ - position_)) {
      if (field_ != wire::kCompact) return false;
      size = static_cast<uint64_t>(end_ - position_);  // a run that is still open
    }
    bytes_ = position_;
    size_ = static_cast<size_t>(size);
    position_ += size_;
    return true;
  }

  // The next varint, of a field that is nothing else; false at the end.
  bool NextVarint(uint64_t* value) { return position_ < end_ && Varint(value); }

  uint32_t field() const { return field_; }
  bool is_bytes() const { return is_bytes_; }
  uint64_t value() const { return value_; }
  int64_t signed_value() const { return ZigZag(value_); }
  static int64_t ZigZag(uint64_t value) { return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1); }
  const uint8_t* bytes() const { return bytes_; }
  size_t size() const { return size_; }
  const uint8_t* start() const { return start_; }  // of the field, tag included

 private:
  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && position_ < end_; shift += 7) {
      const uint8_t byte = *position_++;
      *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  // Of a run, whose writer may be closing it at this moment: it stores the four bytes at once, at a multiple of four.
  bool RunLength(uint64_t* size) {
    constexpr size_t kLengthSize = 4;
    if (static_cast<size_t>(end_ - position_) < kLengthSize ||
        reinterpret_cast<uintptr_t>(position_) % kLengthSize != 0)
      return false;
    auto* stored = const_cast<uint32_t*>(reinterpret_cast<const uint32_t*>(position_));
    const uint32_t bytes = std::atomic_ref<uint32_t>(*stored).load(std::memory_order_relaxed);
    position_ += kLengthSize;
    *size = (bytes & 0x7f) | (bytes >> 8 & 0x7f) << 7 | (bytes >> 16 & 0x7f) << 14 | (bytes >> 24 & 0x7f) << 21;
    return true;
  }

  const uint8_t* position_;
  const uint8_t* end_;
  const uint8_t* start_ = nullptr;
  const uint8_t* bytes_ = nullptr;
  size_t size_ = 0;
  uint64_t value_ = 0;
  uint32_t field_ = 0;
  bool is_bytes_ = false;
};

}  // namespace oomtrace
