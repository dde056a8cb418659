// The caching allocator's events in their compact form (proto/trace.proto, Chunk.compact): four to eight bytes each.
//
// One thread at a time for a ChunkWriter. False where the file has no room: nothing is written then.
#pragma once

#include <cstdint>

#include "interpose/record/chunk_writer.h"

namespace oomtrace {

// What is known of an allocation, by id.
struct Attribution {
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
  uint32_t site = 0;  // of a block of the caching allocator: stands for the three others, its size and its device
};

struct BlockEvent {
  uint64_t ticks = 0;
  uint64_t address = 0;
  uint64_t bytes = 0;     // of the block; of an alloc without a site
  uint64_t reserved = 0;  // what the caching allocator holds on the device
  uint32_t device = 0;    // below 256
};

bool WriteCompactAlloc(ChunkWriter& chunk, const BlockEvent& event, const Attribution& attribution);
bool WriteCompactFree(ChunkWriter& chunk, const BlockEvent& event);

}  // namespace oomtrace
