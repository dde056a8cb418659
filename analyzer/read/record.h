// One event as it stands in a chunk: its varint fields by number.
//
// Every event of trace.proto keeps its numbers below 12, and all but GpuProcesses consist of varints: one loop decodes
// them all, without a generated class on the path of the ten million.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace oomtrace {

struct Record {
  static constexpr uint32_t kFields = 18;

  uint32_t type = 0;  // number of the field in trace::Chunk
  uint64_t ticks = 0;
  uint64_t address = 0;
  std::string_view bytes;  // the serialized message
  uint32_t present = 0;    // bit n: field n stood on the wire
  std::array<uint64_t, kFields> field{};

  bool has(uint32_t number) const { return (present >> number & 1) != 0; }
};

// Fills `record` from record->bytes (type, ticks and address are the caller's). False where it does not decode.
bool DecodeFields(Record* record);

// Whether the values can be those of a device: a size beyond 2^48 bytes or a device beyond 255 is a flipped bit. What
// was asked for and refused may be any number; beyond 2^60 it becomes 2^60.
bool Plausible(Record* record);

}  // namespace oomtrace
