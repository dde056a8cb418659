// Little-endian integers at a fixed offset. The caller guarantees that they lie within `bytes`.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace oomtrace {

template <typename Integer>
Integer LoadLittleEndian(std::string_view bytes, size_t offset) {
  static_assert(std::endian::native == std::endian::little, "traces are read on little-endian machines only");
  Integer value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

}  // namespace oomtrace
