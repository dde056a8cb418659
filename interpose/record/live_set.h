// What is allocated at the end of the event chunks that have been folded away: blocks and device allocations, with what
// is known of them (role, arrival of host data). Bounded memory outside the application's malloc.
//
// Chunks of several threads overlap in time, so a free may be seen before the allocation that it ends: it is kept, by
// its time, until that allocation comes. One thread at a time (TraceFile's lock).
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/format.h"

namespace oomtrace {

struct LiveBlock {
  uint64_t address;
  uint64_t ticks;  // of the allocation; where it is not live, of a free, or 0
  uint64_t bytes;
  uint64_t reserved;
  uint64_t owner;       // of the role
  uint64_t role_ticks;  // 0: no role
  uint64_t role_bytes;
  uint64_t copy_ticks;  // 0: no host data
  uint64_t copy_bytes;
  uint32_t stack;
  uint32_t layout;
  uint32_t context;
  uint32_t library;
  uint32_t api;
  uint32_t device;
  uint32_t role;
  uint32_t role_name;
  bool device_level;  // a DeviceAlloc, else a TensorAlloc
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

  // Takes in one sealed event chunk; false where a table is full, after which the set is not complete.
  bool Apply(const ChunkHeader& chunk);

  uint64_t events() const { return events_; }  // taken in so far
  // Those that live, and the frees that still wait for their allocation (not live, with the time of the free).
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (size_t i = 0; blocks_ != nullptr && i < kSlots; ++i)
      if (blocks_[i].used && blocks_[i].ticks != 0) visit(blocks_[i]);
  }
  size_t used() const { return used_; }

  const KeptEvent* kept() const { return kept_; }
  size_t kept_count() const { return kept_count_; }
  // The kept events have been written elsewhere.
  void ForgetKept() { kept_count_ = 0; }

 private:
  struct Event;
  struct Decoder;

  LiveBlock* Find(uint64_t address, bool device_level) const;  // nullptr: not there
  LiveBlock* FindOrAdd(uint64_t address, bool device_level);   // nullptr: full
  bool MakeRoom();
  bool Allocate(const LiveBlock& block);
  bool Free(const LiveBlock& block);
  bool ApplyEvent(const Event& event, Decoder& decoder);
  bool Keep(const Event& event);
  void Describe(const Event& event);

  LiveBlock* blocks_;  // kSlots of them
  KeptEvent kept_[kMostKept];
  size_t kept_count_;
  size_t used_;
  uint64_t events_;
};

}  // namespace oomtrace
