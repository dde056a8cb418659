// Walks the events of one event chunk for folding, their deltas undone. The chunk may still be written by its thread:
// what is committed when the cursor is made is what it sees.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/compact_reader.h"
#include "interpose/record/format.h"

namespace oomtrace {

struct ChunkEvent {
  static constexpr uint32_t kFields = 16;

  uint32_t kind;  // field of Chunk; of a compact event kTensorAlloc or kTensorFree
  uint64_t ticks;
  CompactEvent block;  // of a compact event; the rest is of the others
  bool has_block;
  uint64_t address;
  uint64_t value[kFields];  // by field number, where it is a number
  const uint8_t* rest;      // the message behind its ticks and its block
  uint32_t rest_size;
};

class EventCursor {
 public:
  EventCursor(const ChunkHeader& chunk, BlockTable* blocks, const SiteSize* sites)
      : sequence_(chunk.sequence),
        ticks_(chunk.base_ticks),
        records_(reinterpret_cast<const uint8_t*>(&chunk) + kChunkHeaderSize,
                 chunk.committed.load(std::memory_order_acquire)),
        blocks_(blocks),
        run_(blocks, sites) {}

  // False at the end, and where there is no memory for the table of blocks: failed() then.
  bool Next();

  const ChunkEvent& event() const { return event_; }
  bool failed() const { return failed_; }

  // By time; chunks that say the same time by their order.
  bool IsLaterThan(const EventCursor& other) const {
    return event_.ticks != other.event_.ticks ? event_.ticks > other.event_.ticks : sequence_ > other.sequence_;
  }

 private:
  void Take(uint32_t kind, const uint8_t* message, size_t size);

  uint64_t sequence_;
  uint64_t ticks_;
  uint64_t rotated_ = 0;
  WireReader records_;
  BlockTable* blocks_;
  CompactReader run_;
  bool cleared_ = false;
  bool failed_ = false;
  ChunkEvent event_;
};

}  // namespace oomtrace
