// Reads back the runs of compact events of one chunk, for folding: what compact_writer.h wrote, and nothing else.
//
// Whatever does not make sense ends the run. `blocks` and `sites` outlive the reader; `blocks` is the caller's, for
// this chunk alone.
#pragma once

#include <cstdint>

#include "interpose/record/block_table.h"
#include "interpose/record/chunk_writer.h"
#include "interpose/record/site_size.h"
#include "interpose/record/wire_reader.h"

namespace oomtrace {

struct CompactEvent {
  bool alloc;
  uint64_t ticks;
  uint64_t address;
  uint64_t bytes;  // of an alloc
  uint64_t reserved;
  uint32_t device;
  uint32_t site;  // 0: the three below
  uint32_t stack;
  uint32_t layout;
  uint32_t context;
};

class CompactReader {
 public:
  CompactReader(BlockTable* blocks, const SiteSize* sites) : blocks_(blocks), sites_(sites) {}

  void Begin(const uint8_t* run, size_t size) { run_ = WireReader(run, size); }

  // The next event of the run; `ticks` are those of the last event of the chunk, of any form, and move on. False at its
  // end.
  bool Next(uint64_t* ticks, CompactEvent* event);

 private:
  static constexpr uint32_t kDevices = 256;

  uint64_t& Reserved(uint32_t device) {
    return reserved_[device < ChunkWriter::kDevices ? device : ChunkWriter::kDevices];
  }
  bool Id(uint32_t* id);
  bool KnownBlock();
  bool NewBlock();
  bool Site(CompactEvent* event);

  BlockTable* blocks_;
  const SiteSize* sites_;
  WireReader run_{nullptr, 0};
  uint64_t last_new_block_ = 0;
  uint64_t rotated_ = 0;
  uint32_t slot_ = 0;
  uint64_t reserved_[ChunkWriter::kDevices + 1] = {};  // the last: of the device named last beyond those
};

}  // namespace oomtrace
