// The chunks of a trace file: docs/trace-format.md, "Chunk".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "analyzer/read/damage_log.h"
#include "analyzer/read/file_header.h"

namespace oomtrace {

enum class ChunkKind : uint16_t { kPermanent = 1, kEvents = 2, kFold = 3 };

struct Chunk {
  uint64_t offset = 0;  // of the chunk in the file
  ChunkKind kind = ChunkKind::kEvents;
  uint64_t sequence = 0;
  uint64_t base_ticks = 0;
  uint64_t base_monotonic_ns = 0;
  uint32_t thread = 0;
  std::string_view payload;  // committed bytes that the file really holds
  // Events of other times do not count: they are in the fold, or the fold that they are for was not completed.
  uint64_t after = 0;  // ticks
  uint64_t until = UINT64_MAX;
};

// Every chunk that counts and whose header makes sense, by sequence: not a fold chunk of another generation than the
// header's (a kill amid a fold leaves both in the file). A file that ends early, a chunk whose header or checksum is
// wrong and a count that runs beyond its chunk are noted in `damage`; what can still be used is in the result.
std::vector<Chunk> ListChunks(std::string_view file, const FileHeader& header, DamageLog* damage);

}  // namespace oomtrace
