// Stream-ordered memory pools: cudaMallocAsync and cudaMemPool*.
//
// A pool holds physical memory in multiples of 32 MiB, the driver's step, and gives back what is idle above its
// release threshold when a stream is synchronized, or when it is trimmed. Streams run no work here, so a freed
// allocation is idle at once. The pool remaps idle pages as it likes, as the driver can: only totals count.
// Thread-safe. Bytes throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "simgpu/memory.h"

namespace oomtrace::simgpu {

class MemoryPool {
 public:
  MemoryPool(DeviceMemory& memory, int device) : memory_(memory), device_(device) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  uintptr_t Allocate(size_t bytes);  // 0: no room
  bool Free(uintptr_t address);      // false: not from this pool
  bool Owns(uintptr_t address) const;
  size_t SizeOf(uintptr_t address) const;  // 0: not from this pool
  // Keeps at least `keep` bytes.
  void Trim(size_t keep);
  // A synchronization: Trim() to the threshold.
  void Settle() { Trim(threshold()); }

  // The pool was destroyed: what it has idle goes back at once, the rest when it is freed. True: nothing is left.
  bool Retire();
  bool retired() const;

  uint64_t threshold() const;
  void set_threshold(uint64_t bytes);
  uint64_t used() const;
  uint64_t used_high() const;
  uint64_t reserved() const;
  uint64_t reserved_high() const;
  void ResetHigh();
  int device() const { return device_; }

 private:
  void TrimLocked(size_t keep);

  DeviceMemory& memory_;
  const int device_;
  mutable std::mutex mutex_;
  std::map<uintptr_t, size_t> allocations_;  // base -> bytes held
  bool retired_ = false;
  uint64_t threshold_ = 0;
  uint64_t used_ = 0;
  uint64_t used_high_ = 0;
  uint64_t reserved_ = 0;
  uint64_t reserved_high_ = 0;
};

}  // namespace oomtrace::simgpu
