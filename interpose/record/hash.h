// 64-bit hashing of what the recorder interns. Two different things with one hash would be confused: at a million
// entries the chance of that is below 10^-7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace oomtrace {

// Multiply-and-fold, as in wyhash.
inline uint64_t Mix(uint64_t a, uint64_t b) {
  const __uint128_t product = static_cast<__uint128_t>(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xe7037ed1a0b428dbu);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t HashBytes(const void* data, size_t size, uint64_t seed) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint64_t hash = Mix(seed, size);
  for (; size >= 8; size -= 8, bytes += 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    hash = Mix(hash, word);
  }
  uint64_t tail = 0;
  memcpy(&tail, bytes, size);
  return Mix(hash, tail);
}

}  // namespace oomtrace
