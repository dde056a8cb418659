#include "interpose/record/crc32c.h"

#include <cstring>

namespace oomtrace {
namespace {

struct Table {
  uint32_t entry[256];
};

constexpr Table MakeTable() {
  Table table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0u);
    table.entry[byte] = crc;
  }
  return table;
}

constexpr Table kTable = MakeTable();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Crc32cHardware(const uint8_t* data, size_t size) {
  uint64_t crc = ~0u;
  while (size >= 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    crc = __builtin_ia32_crc32di(crc, word);
    data += 8;
    size -= 8;
  }
  for (; size > 0; --size) crc = __builtin_ia32_crc32qi(static_cast<uint32_t>(crc), *data++);
  return ~static_cast<uint32_t>(crc);
}

// CPUID leaf 1, ECX bit 20. Asked for here rather than through __builtin_cpu_supports, whose model lives in libgcc.
bool HasSse42() {
  uint32_t eax = 1, ebx, ecx, edx;
  asm("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
  return (ecx >> 20) & 1;
}
#endif

}  // namespace

uint32_t internal::Crc32cTable(const uint8_t* data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ kTable.entry[(crc ^ data[i]) & 255];
  return ~crc;
}

uint32_t Crc32c(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
#if defined(__x86_64__)
  if (HasSse42()) return Crc32cHardware(bytes, size);
#endif
  return internal::Crc32cTable(bytes, size);
}

}  // namespace oomtrace
