// What is allocated at the end of the event chunks that have been folded away: blocks and device allocations, with what
// is known of them (role, arrival of host data). Bounded memory outside the application's malloc.
//
// Chunks of several threads overlap in time. Those that are folded together are taken in by order of time. A free that
// ends an allocation in a chunk that is not folded yet is carried along until that chunk is. One thread at a time
// (TraceFile's lock).
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/block_table.h"
#include "interpose/record/format.h"
#include "interpose/record/site_size.h"

namespace oomtrace {

struct LiveBlock {
  uint64_t address;
  uint64_t ticks;  // of the allocation, or of a carried free
  uint64_t bytes;
  uint64_t reserved;
  uint64_t owner;       // of the role
  uint64_t role_ticks;  // 0: no role
  uint64_t role_bytes;
  uint64_t copy_ticks;  // 0: no host data
  uint64_t copy_bytes;
  uint32_t site;  // of a block of the caching allocator, 0: stack, layout and context
  uint32_t stack;
  uint32_t layout;
  uint32_t context;
  uint32_t library;
  uint32_t api;
  uint32_t device;
  uint32_t role;
  uint32_t role_name;
  bool device_level;  // a DeviceAlloc, else a block of the caching allocator
  bool used;          // the slot
  bool live;
};

// An event that is kept as it is: a phase, an out-of-memory event, what has no block.
struct KeptEvent {
  uint64_t ticks;
  uint32_t field;  // of Chunk
  uint32_t size;
  const uint8_t* message;  // in the chunk, behind the ticks
};

class LiveSet {
 public:
  static constexpr size_t kSlots = 1 << 18;
  static constexpr size_t kMostKept = 1 << 16;
  static constexpr size_t kMostCarried = 1 << 13;
  static constexpr size_t kMostChunks = 16;  // taken in together

  // Before anything else: kMostSites of them, by id.
  void BindSites(const SiteSize* sites) { sites_ = sites; }

  // Takes in sealed event chunks. `later` are those that stay and overlap with them in time, sealed or still written.
  // False where a table is full, after which the set is not complete.
  bool Apply(const ChunkHeader* const* chunks, size_t count, const ChunkHeader* const* later, size_t later_count);

  uint64_t events() const { return events_; }  // taken in so far
  template <typename Visit>
  void ForEachLive(Visit visit) const {
    for (size_t i = 0; blocks_ != nullptr && i < kSlots; ++i)
      if (blocks_[i].live) visit(blocks_[i]);
  }
  size_t used() const { return used_; }
  const LiveBlock* carried() const { return carried_; }  // frees, in order of time
  size_t carried_count() const { return carried_count_; }

  const KeptEvent* kept() const { return kept_; }
  size_t kept_count() const { return kept_count_; }
  // The kept events have been written elsewhere.
  void ForgetKept() { kept_count_ = 0; }

 private:
  struct Event;
  struct Cursor;
  class LaterBirths;

  LiveBlock* Find(uint64_t address, bool device_level) const;  // nullptr: not there
  LiveBlock* FindOrAdd(uint64_t address, bool device_level);   // nullptr: full
  bool MakeRoom();
  bool Allocate(const LiveBlock& block);
  bool Free(const LiveBlock& block, const LaterBirths& later);
  bool ApplyEvent(const Event& event, const LaterBirths& later);
  bool Keep(const Event& event);
  void Describe(const Event& event);

  const SiteSize* sites_;
  LiveBlock* blocks_;               // kSlots of them
  BlockTable tables_[kMostChunks];  // of the chunks that are read
  LiveBlock carried_[kMostCarried];
  size_t carried_count_;
  KeptEvent kept_[kMostKept];
  size_t kept_count_;
  size_t used_;
  uint64_t events_;
};

}  // namespace oomtrace
