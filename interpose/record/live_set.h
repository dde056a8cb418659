// What is allocated at one moment, the horizon up to which the trace has been folded: blocks and device allocations,
// with what is known of them (role, arrival of host data), and how memory went before (step_spans.h).
//
// Bounded memory outside the application's malloc, in proportion to what lives. Zeroed memory is an empty set, once
// BindSites was called. One thread at a time (TraceFile's lock).
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/block_table.h"
#include "interpose/record/event_cursor.h"
#include "interpose/record/site_size.h"
#include "interpose/record/step_spans.h"

namespace oomtrace {

// The message of an event, as it was, behind its ticks and its block.
struct LiveMessage {
  static constexpr size_t kMost = 115;  // longest: a DeviceAlloc with every field it has today takes half of it

  uint64_t ticks;
  uint32_t next_free;
  uint8_t size;
  uint8_t bytes[kMost];
};

struct LiveBlock {
  uint64_t address;
  uint64_t ticks;  // of the allocation
  uint64_t bytes;  // of a block of the caching allocator
  uint32_t site;   // 0: the three below
  uint32_t stack;
  uint32_t layout;
  uint32_t context;
  uint32_t message;    // of a device allocation: its DeviceAlloc; of a block: its TensorRole, 0: none
  uint32_t host_copy;  // of a block: its HostCopy, 0: none
  uint8_t device;
  bool device_level;  // a DeviceAlloc, else a block of the caching allocator
  bool counted;       // in DeviceCalls
  bool used;          // the slot
  bool live;
};

// An event that is kept as it is: a phase, an out-of-memory event, a device call that is more than an address (physical
// memory with its mappings and owners, contexts).
struct KeptEvent {
  uint64_t ticks;
  uint64_t address;  // of the block, where the event has one
  bool has_block;
  uint32_t kind;
  uint32_t size;
  const uint8_t* message;  // in the chunk, behind ticks and block
};

// Allocations of one device's memory that have been taken in, and how many of them were given back.
struct DeviceCalls {
  uint64_t made;
  uint64_t freed;
};

class LiveSet {
 public:
  static constexpr size_t kMostSlots = 1 << 18;
  static constexpr size_t kMostMessages = 1 << 18;
  static constexpr size_t kMostKept = 1 << 16;
  static constexpr size_t kMostSources = 1024;  // chunks that overlap in time: one or two for each thread

  // Before anything else: kMostSites of them, by id.
  void BindSites(const SiteSize* sites) { sites_ = sites; }

  // Takes in the events of `chunks` from behind the last horizon up to the new one, `until`. False where a table is
  // full, after which the set is not complete.
  bool Advance(const ChunkHeader* const* chunks, size_t count, uint64_t until);

  uint64_t horizon() const { return horizon_; }
  uint64_t events() const { return events_; }  // taken in so far
  size_t used() const { return used_; }
  const StepSpans& spans() const { return spans_; }
  const LiveMessage& message(uint32_t number) const { return messages_[number]; }
  template <typename Visit>
  void ForEachLive(Visit visit) const {
    for (size_t i = 0; i < slots_; ++i)
      if (blocks_[i].live) visit(blocks_[i]);
  }

  // The last reading of each device's free memory, by index below StepSpans::kDevices; ticks 0: there was none.
  const LiveMessage& memory_info(uint32_t device) const { return memory_info_[device]; }

  // By index below StepSpans::kDevices.
  const DeviceCalls& device_calls(uint32_t device) const { return device_calls_[device]; }

  const KeptEvent* kept() const { return kept_; }
  size_t kept_count() const { return kept_count_; }
  // The kept events have been written elsewhere.
  void ForgetKept() { kept_count_ = 0; }

 private:
  LiveBlock* Find(uint64_t address, bool device_level) const;  // nullptr: not there
  LiveBlock* FindOrAdd(uint64_t address, bool device_level);   // nullptr: full
  bool MakeRoom();
  bool Apply(const ChunkEvent& event);
  bool Allocate(const ChunkEvent& event);
  bool AllocateDevice(const ChunkEvent& event);
  bool FreeDevice(const ChunkEvent& event);
  void Free(uint64_t address, bool device_level);
  bool Describe(const ChunkEvent& event);
  bool Keep(const ChunkEvent& event);
  void End(LiveBlock& block);
  bool Note(const ChunkEvent& event, uint32_t* number);
  static bool Copy(const ChunkEvent& event, LiveMessage* message);
  void Drop(uint32_t* number);

  const SiteSize* sites_;
  uint64_t horizon_;
  LiveBlock* blocks_;  // slots_ of them, a power of two
  size_t slots_;
  size_t used_;
  LiveMessage* messages_;  // from 1
  uint32_t message_count_;
  uint32_t free_message_;
  bool optimizer_seen_;
  uint64_t events_;
  StepSpans spans_;
  LiveMessage memory_info_[StepSpans::kDevices];
  DeviceCalls device_calls_[StepSpans::kDevices];
  KeptEvent kept_[kMostKept];
  size_t kept_count_;
  BlockTable tables_[kMostSources];
};

}  // namespace oomtrace
