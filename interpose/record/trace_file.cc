#include "interpose/record/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "interpose/record/clock.h"
#include "interpose/record/crc32c.h"
#include "interpose/record/fold.h"
#include "interpose/record/memory.h"
#include "interpose/record/test_point.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace oomtrace {
namespace {

uint64_t LargestFile() {
  // Beyond this limit the kernel sends SIGXFSZ, which would kill the application.
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return ~uint64_t{0};
  return limit.rlim_cur;
}

// What is in a trace belongs to the kernel's page cache: the pages of a long job's trace need not count as this
// process's own. Whoever touches one again gets it back as it was. From the first whole page to the last.
void DropResident(void* memory, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

bool TraceFile::Open(const char* path, uint64_t budget_bytes, Reason* reason, int* errno_out) {
  if (budget_bytes < kSmallestBudget) budget_bytes = kSmallestBudget;
  if (LargestFile() < budget_bytes) budget_bytes = LargestFile();
  if (budget_bytes < kHeaderSize + 4 * kChunkSize) {
    *errno_out = EFBIG;
    reason->Add("the limit on file sizes (ulimit -f) leaves no room for a trace");
    return false;
  }
  budget_chunks_ = (budget_bytes - kHeaderSize) / kChunkSize;
  if (!descriptor_.Create(path)) {
    *errno_out = errno;
    reason->Add("cannot create ").AddEnd(path, kShownPath).Add(": ").Add(strerrordesc_np(*errno_out));
    return false;
  }
  OOMTRACE_TEST_POINT("open: file made");
  const uint64_t span = kHeaderSize + budget_chunks_ * kChunkSize;
  const char* problem = nullptr;
  if (!Reserve(0, kHeaderSize + kChunkSize)) {
    *errno_out = errno;
    problem = "no space for it on the disk: ";
  } else {
    void* memory = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_.Get(), 0);
    slots_ = static_cast<Slot*>(MapMemory(budget_chunks_ * sizeof(Slot)));
    if (memory != MAP_FAILED && slots_ != nullptr) {
      header_ = static_cast<TraceHeader*>(memory);
    } else {
      *errno_out = errno;
      problem = "cannot map it: ";
    }
  }
  if (problem != nullptr) {
    reason->Add("cannot write ").AddEnd(path, kShownPath).Add(", ").Add(problem).Add(strerrordesc_np(*errno_out));
    unlink(path);
    descriptor_.Close();
    return false;
  }
  OOMTRACE_TEST_POINT("open: mapped");
  reserved_chunks_ = 1;
  header_->version = kFormatVersion;
  header_->header_size = kHeaderSize;
  header_->chunk_size = kChunkSize;
  header_->chunk_header_size = kChunkHeaderSize;
  header_->budget_chunks = budget_chunks_;
  header_->reserved_chunks.store(reserved_chunks_, std::memory_order_relaxed);
  header_->pid = static_cast<uint32_t>(getpid());
  header_->start_unix_ns = ClockNs(CLOCK_REALTIME);
  header_->start_ticks = Ticks();
  header_->start_monotonic_ns = ClockNs(CLOCK_MONOTONIC);
  OOMTRACE_TEST_POINT("open: before the magic");
  // What is killed before this has left no trace.
  std::atomic_thread_fence(std::memory_order_release);
  memcpy(header_->magic, "OOMTRACE", 8);
  OOMTRACE_TEST_POINT("open: done");
  return true;
}

// posix_fallocate returns its error. Where the file system has no fallocate it writes a zero to each block: therefore
// only what nobody writes to yet is reserved, and no signal interrupts it (tmpfs would begin anew each time).
bool TraceFile::Reserve(uint64_t begin, uint64_t end) {
  const int descriptor = descriptor_.Get();
  if (descriptor < 0) {
    errno = EBADF;
    return false;
  }
  const SignalsHeldBack quiet;
  errno = posix_fallocate(descriptor, static_cast<off_t>(begin), static_cast<off_t>(end - begin));
  return errno == 0;
}

bool TraceFile::Grow() {
  if (full_ || reserved_chunks_ == budget_chunks_) return false;
  // Twice as much each time, so that a short job leaves a small file; on a disk that is nearly full, what there is.
  uint64_t more = std::clamp(reserved_chunks_, kFirstChunks, kExtent / kChunkSize);
  more = std::min(more, budget_chunks_ - reserved_chunks_);
  const uint64_t begin = kHeaderSize + reserved_chunks_ * kChunkSize;
  for (; more > 0; more /= 2) {
    // The limit may have been lowered since Open; beyond it posix_fallocate would raise SIGXFSZ.
    errno = EFBIG;
    if (begin + more * kChunkSize <= LargestFile() && Reserve(begin, begin + more * kChunkSize)) break;
  }
  if (more == 0) {
    full_ = true;
    disk_error_.store(errno, std::memory_order_relaxed);
    return false;
  }
  OOMTRACE_TEST_POINT("grow: reserved");
  reserved_chunks_ += more;
  header_->reserved_chunks.store(reserved_chunks_, std::memory_order_release);
  return true;
}

void TraceFile::NoteLoss() {
  if (disk_error() != 0) lost_to_full_disk_.store(true, std::memory_order_relaxed);
}

ChunkHeader* TraceFile::At(uint64_t index) const {
  return reinterpret_cast<ChunkHeader*>(reinterpret_cast<uint8_t*>(header_) + kHeaderSize + index * kChunkSize);
}

uint64_t TraceFile::IndexOf(const ChunkHeader* chunk) const {
  const auto offset = reinterpret_cast<const uint8_t*>(chunk) - reinterpret_cast<const uint8_t*>(header_);
  return (static_cast<uint64_t>(offset) - kHeaderSize) / kChunkSize;
}

uint64_t TraceFile::FreeChunks() const {
  return (full_ ? reserved_chunks_ : budget_chunks_) - used_chunks_ + released_chunks_;
}

uint64_t TraceFile::FreeSlot() {
  if (released_chunks_ > 0) {
    for (uint64_t i = 0; i < used_chunks_; ++i)
      if (slots_[i].sequence == 0) return i;
  }
  return used_chunks_ < reserved_chunks_ || Grow() ? used_chunks_ : kNone;
}

uint64_t TraceFile::OldestSealed() const {
  uint64_t oldest = kNone;
  for (uint64_t i = 0; i < used_chunks_; ++i) {
    const Slot& slot = slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kEvents || slot.held) continue;
    if (oldest == kNone || slot.sequence < slots_[oldest].sequence) oldest = i;
  }
  return oldest;
}

// What was in it is no longer part of the trace.
void TraceFile::Release(uint64_t index) {
  OOMTRACE_TEST_POINT("release: before");
  At(index)->magic.store(0, std::memory_order_release);
  OOMTRACE_TEST_POINT("release: after");
  DropResident(At(index), kChunkSize);
  slots_[index].sequence = 0;
  ++released_chunks_;
}

ChunkHeader* TraceFile::Begin(uint64_t index, ChunkKind kind, uint32_t thread, uint32_t generation) {
  ChunkHeader* chunk = At(index);
  // Faults the pages in at once (a first touch costs 79 ns a record otherwise), and answers an error where writing
  // would raise SIGBUS. A kernel that does not know the advice says EINVAL, which is no reason to stop.
  if (madvise(reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(chunk) & ~uintptr_t{4095}), kChunkSize,
              MADV_POPULATE_WRITE) != 0 &&
      errno != EINVAL) {
    full_ = true;
    disk_error_.store(errno, std::memory_order_relaxed);
    return nullptr;
  }
  OOMTRACE_TEST_POINT("begin: pages there");
  // A kill in between leaves a chunk that was never used.
  chunk->magic.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  OOMTRACE_TEST_POINT("begin: magic gone");
  chunk->committed.store(0, std::memory_order_relaxed);
  chunk->kind = static_cast<uint16_t>(kind);
  chunk->flags.store(0, std::memory_order_relaxed);
  chunk->sequence = ++last_sequence_;
  // What a fold holds may be as old as the trace.
  const bool fold = kind == ChunkKind::kFold;
  chunk->base_ticks = fold ? header_->start_ticks : Ticks();
  chunk->base_monotonic_ns = fold ? header_->start_monotonic_ns : ClockNs(CLOCK_MONOTONIC);
  chunk->thread = thread;
  chunk->crc = 0;
  chunk->generation = generation;
  OOMTRACE_TEST_POINT("begin: header filled in");
  chunk->magic.store(kChunkMagic, std::memory_order_release);
  OOMTRACE_TEST_POINT("begin: done");
  if (index == used_chunks_) {
    ++used_chunks_;
  } else {
    --released_chunks_;
  }
  slots_[index] = {chunk->sequence, kind, true, chunk->base_ticks, 0, generation};
  return chunk;
}

ChunkHeader* TraceFile::Take(ChunkKind kind, uint32_t thread) {
  SpinLockHolder hold(lock_);
  // Interned data may never crowd out the events.
  if (kind == ChunkKind::kPermanent && permanent_chunks_ >= budget_chunks_ / 2) return nullptr;
  if (FreeChunks() <= Fold::Spare(budget_chunks_)) {
    if (fold_ == nullptr) fold_ = Fold::Make(this);
    if (fold_ != nullptr) fold_->FoldOldest();
    DropResident(header_, kHeaderSize + used_chunks_ * kChunkSize);  // the fold looked at all of it
  }
  ChunkHeader* chunk = TakeLocked(kind, thread, 0);
  if (chunk == nullptr) {
    NoteLoss();
    const uint64_t oldest = OldestSealed();
    if (oldest == kNone) return nullptr;
    header_->recycled_chunks.fetch_add(1, std::memory_order_relaxed);
    OOMTRACE_TEST_POINT("recycle: counted");
    Release(oldest);
    chunk = TakeLocked(kind, thread, 0);
  }
  if (chunk != nullptr && kind == ChunkKind::kPermanent) ++permanent_chunks_;
  return chunk;
}

ChunkHeader* TraceFile::TakeLocked(ChunkKind kind, uint32_t thread, uint32_t generation) {
  const uint64_t index = FreeSlot();
  return index != kNone ? Begin(index, kind, thread, generation) : nullptr;
}

void TraceFile::Seal(ChunkHeader* chunk) {
  SpinLockHolder hold(lock_);
  SealLocked(chunk);
}

void TraceFile::SealLocked(ChunkHeader* chunk) {
  chunk->crc = Crc32c(chunk->payload(), chunk->committed.load(std::memory_order_relaxed));
  OOMTRACE_TEST_POINT("seal: checksum");
  chunk->flags.store(kSealed, std::memory_order_release);
  OOMTRACE_TEST_POINT("seal: done");
  Slot& slot = slots_[IndexOf(chunk)];
  slot.held = false;
  slot.sealed_ticks = Ticks();
  DropResident(chunk, kChunkSize);
}

}  // namespace oomtrace
