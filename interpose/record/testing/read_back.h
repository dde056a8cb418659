// Reads back what the recorder wrote, for its tests, as docs/trace-format.md says, fold generations included.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "interpose/record/compact_reader.h"
#include "interpose/record/format.h"
#include "trace.pb.h"

namespace oomtrace::testing {

struct ReadEvent {
  uint32_t kind = 0;  // field of Chunk: kTensorAlloc or kTensorFree for compact events
  uint64_t ticks = 0;
  uint64_t address = 0;   // of what has a block
  CompactEvent block{};   // of compact events
  std::string message{};  // of the others
};

struct ReadTrace {
  std::unique_ptr<TraceHeader> header = std::make_unique<TraceHeader>();
  trace::Chunk facts;
  std::vector<std::vector<ReadEvent>> chunks;  // as they stand in the file

  std::vector<ReadEvent> InOrderOfTime() const;
  size_t Count(uint32_t kind) const;
};

// Expects every committed record to parse whole.
ReadTrace ReadBack(const std::filesystem::path& path);

}  // namespace oomtrace::testing
