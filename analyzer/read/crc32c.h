// CRC-32C (Castagnoli), the checksum of a sealed chunk: reflected polynomial 0x82f63b78, initial value and final xor
// all ones, as in iSCSI (RFC 3720) and SSE 4.2.
#pragma once

#include <cstdint>
#include <string_view>

namespace oomtrace {

uint32_t Crc32c(std::string_view bytes);

}  // namespace oomtrace
