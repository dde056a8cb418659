// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), the checksum of a sealed chunk. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

uint32_t Crc32c(const void* data, size_t size);

namespace internal {
uint32_t Crc32cTable(const uint8_t* data, size_t size);  // what a processor without SSE 4.2 runs
}

}  // namespace oomtrace
