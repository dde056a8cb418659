// Protobuf wire format, as far as a trace needs it: varints and length-delimited fields, read by hand.
//
// Never reads past the span it was given and never throws: the first thing that cannot be decoded makes ok() false and
// every later read a no-op, so that a caller checks once at the end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace oomtrace {

// The two wire types that trace.proto uses, and those that an unknown field may have.
enum class WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

class WireReader {
 public:
  explicit WireReader(std::string_view bytes)
      : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return ok_; }
  bool done() const { return !ok_ || at_ == end_; }
  size_t offset() const { return static_cast<size_t>(at_ - begin_); }

  uint64_t Varint() {
    if (at_ < end_ && static_cast<uint8_t>(*at_) < 0x80) return static_cast<uint8_t>(*at_++);
    return LongVarint();
  }

  // Returns the field's number and stores its wire type; 0 where there is no valid tag.
  uint32_t Tag(WireType* type) {
    const uint64_t tag = Varint();
    const uint64_t number = tag >> 3;
    if (number == 0 || number > kMaxFieldNumber) return Fail();
    *type = static_cast<WireType>(tag & 7);
    return static_cast<uint32_t>(number);
  }

  std::string_view Bytes() {
    const uint64_t size = Varint();
    if (!ok_ || size > static_cast<uint64_t>(end_ - at_)) {
      Fail();
      return {};
    }
    const std::string_view bytes(at_, static_cast<size_t>(size));
    at_ += size;
    return bytes;
  }

  // The same for a field whose length may reach beyond the end: it ends there then.
  std::string_view BytesUpToEnd() {
    const uint64_t size = Varint();
    const std::string_view bytes(at_, static_cast<size_t>(std::min<uint64_t>(size, static_cast<uint64_t>(end_ - at_))));
    at_ += bytes.size();
    return bytes;
  }

  void Skip(WireType type) {
    switch (type) {
      case WireType::kVarint:
        Varint();
        return;
      case WireType::kLength:
        Bytes();
        return;
      case WireType::kFixed64:
        Advance(8);
        return;
      case WireType::kFixed32:
        Advance(4);
        return;
    }
    Fail();
  }

 private:
  static constexpr uint64_t kMaxFieldNumber = (1u << 29) - 1;  // protobuf's own limit

  uint32_t Fail() {
    ok_ = false;
    at_ = end_;
    return 0;
  }

  void Advance(ptrdiff_t size) {
    if (end_ - at_ < size) {
      Fail();
    } else {
      at_ += size;
    }
  }

  uint64_t LongVarint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ < end_; shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return Fail();
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

// The inverse of protobuf's zigzag: sint64 on the wire.
inline int64_t ZigZag(uint64_t value) { return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1); }

}  // namespace oomtrace
