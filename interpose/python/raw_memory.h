// Reading the interpreter's structures without their declarations.
#pragma once

#include <cstdint>
#include <cstring>

namespace oomtrace {

template <typename T>
T Load(const void* base, int32_t offset) {
  T value;
  memcpy(&value, static_cast<const uint8_t*>(base) + offset, sizeof(value));
  return value;
}

inline const uint8_t* Pointer(const void* base, int32_t offset) { return Load<const uint8_t*>(base, offset); }

}  // namespace oomtrace
