// The trace file of one process: made when the recording starts, grown in extents, handed out in chunks.
//
// Guarantees
// - Space is reserved on disk before it is mapped memory that anybody writes: a full disk is an error here, never a
//   SIGBUS in the application. The mapping spans the whole budget from the start, so nothing ever moves.
// - The size on disk never exceeds the budget. When it is used up (or the disk is full), the oldest sealed event chunks
//   are folded (fold.h): what still lives, and the phases, are written anew, and the chunks are used again. Where even
//   that has no room, the oldest is recycled and counted as lost. Permanent chunks never are.
// - No number of a chunk is used twice.
// Zeroed memory is a valid unopened TraceFile. Thread-safe after Open, except that a chunk has one writer at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "interpose/record/format.h"
#include "interpose/record/guest_descriptor.h"
#include "interpose/record/site_size.h"
#include "interpose/record/spin_lock.h"
#include "interpose/record/text.h"

namespace oomtrace {

class Fold;
using Reason = Text<240>;

class TraceFile {
 public:
  static constexpr uint64_t kFirstChunks = 8;    // reserved at the start, then twice as much each time
  static constexpr uint64_t kExtent = 4u << 20;  // most bytes reserved at a time
  static constexpr uint64_t kSmallestBudget = 1u << 20;
  static constexpr size_t kShownPath = 140;  // bytes of a path, its end, that leave room in a line for what is wrong

  // Makes `path`, which must not exist, with mode 0600: file names, host and
  // arguments are in it. On failure says why, closes, and leaves no file behind.
  // errno_out is EEXIST where the file was there already.
  bool Open(const char* path, uint64_t budget_bytes, Reason* reason, int* errno_out);

  // What the fold needs of the sites that events refer to: kMostSites of them, by id. Outlives the file.
  void BindSites(const SiteSize* sites) { sites_ = sites; }

  // A chunk for one writer, its header filled in; nullptr when there is none to give.
  ChunkHeader* Take(ChunkKind kind, uint32_t thread);
  // The writer is done with it: checksummed, and from now on a candidate for recycling.
  void Seal(ChunkHeader* chunk);

  // The same for whoever holds the lock already, which is the fold alone.
  ChunkHeader* TakeLocked(ChunkKind kind, uint32_t thread, uint32_t generation);
  void SealLocked(ChunkHeader* chunk);

  TraceHeader* header() const { return header_; }
  bool open() const { return header_ != nullptr; }
  // Whether a chunk could not be given, or one was recycled, because the disk is full; and what the disk said.
  bool lost_to_full_disk() const { return lost_to_full_disk_.load(std::memory_order_relaxed); }
  int disk_error() const { return disk_error_.load(std::memory_order_relaxed); }

 private:
  friend class Fold;

  struct Slot {
    uint64_t sequence;  // 0: free
    ChunkKind kind;
    bool held;
    uint64_t base_ticks;
    uint64_t sealed_ticks;  // no event in it is later
    uint32_t generation;    // of a fold chunk
  };

  static constexpr uint64_t kNone = ~uint64_t{0};

  bool Reserve(uint64_t begin, uint64_t end);
  void NoteLoss();
  bool Grow();
  uint64_t FreeChunks() const;
  uint64_t FreeSlot();
  uint64_t OldestSealed() const;
  ChunkHeader* At(uint64_t index) const;
  uint64_t IndexOf(const ChunkHeader* chunk) const;
  void Release(uint64_t index);
  ChunkHeader* Begin(uint64_t index, ChunkKind kind, uint32_t thread, uint32_t generation);

  SpinLock lock_;
  GuestDescriptor descriptor_;
  TraceHeader* header_ = nullptr;
  Slot* slots_ = nullptr;
  uint64_t budget_chunks_ = 0;
  uint64_t reserved_chunks_ = 0;
  uint64_t used_chunks_ = 0;
  uint64_t permanent_chunks_ = 0;
  uint64_t last_sequence_ = 0;
  uint64_t released_chunks_ = 0;  // among the used ones
  bool full_ = false;
  std::atomic<int> disk_error_;  // 0: the disk is not full
  std::atomic<bool> lost_to_full_disk_;
  const SiteSize* sites_ = nullptr;
  Fold* fold_ = nullptr;  // made when it is first needed
};

}  // namespace oomtrace
