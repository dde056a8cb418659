// The memory of one simulated device: what it has, who holds it, and where allocations lie.
//
// Total = other processes + this process's context + physical pages of this process + free, always. Physical memory
// comes in 2 MiB pages, as the driver hands it out: a request of 1 MiB and more gets pages of its own, smaller ones
// share pages in multiples of 512 bytes. Virtual memory management (virtual_memory.h) and pools (memory_pool.h) book
// their pages here. Thread-safe. Bytes throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>

namespace oomtrace::simgpu {

class DeviceMemory {
 public:
  struct Config {
    int64_t total = 0;    // as cudaMemGetInfo reports it
    int64_t other = 0;    // held by other processes
    int64_t context = 0;  // taken by this process's CUDA context once it exists
  };

  DeviceMemory(int device, Config config);

  // Takes the context's share; repeated calls do nothing. False: it does not fit.
  bool BookContext();
  // Gives it back, and every allocation in it: the primary context was reset.
  void DropContext();
  bool has_context() const;
  // Holds on the primary context that the driver's API gave out; it ends with the last of them where the runtime has
  // none of its own. Release: true where that was the last.
  void HoldContext();
  bool ReleaseContext();

  // A context of its own (cuCtxCreate), known by a number that is not 0: it takes as much as the primary one. False: it
  // does not fit. Destroyed, it gives that back, with every allocation made for it.
  bool BookOwnContext(uint64_t context);
  bool DropOwnContext(uint64_t context);  // false: there is none of that number

  // Physical memory without an address. False: it does not fit, nothing changed.
  bool Book(size_t bytes);
  void Unbook(size_t bytes);

  // cudaMalloc, in the primary context or in one of its own. 0: no room (or `bytes` is 0). Fresh memory reads as zeros.
  uintptr_t Allocate(size_t bytes, uint64_t context = 0);
  // cudaFree. False: not the start of a live allocation.
  bool Free(uintptr_t address);

  struct Allocation {
    uintptr_t base;
    size_t bytes;  // as asked for
  };
  // The allocation that contains `address`.
  std::optional<Allocation> Find(uintptr_t address) const;

  int64_t total() const { return config_.total; }
  int64_t other() const { return config_.other; }
  int64_t free() const;
  int64_t used_by_this_process() const;  // context included

 private:
  struct Chunk {                        // 2 MiB shared by small allocations
    std::map<uint32_t, uint32_t> gaps;  // offset -> bytes free
    size_t live = 0;
  };

  bool BookLocked(size_t bytes);
  uintptr_t AllocateSmall(size_t bytes);
  void FreeAllOf(uint64_t context);
  bool FreeLocked(uintptr_t address);
  void FreeSmall(uintptr_t address, size_t bytes);

  const int device_;
  const Config config_;
  mutable std::mutex mutex_;
  bool context_ = false;
  int holds_ = 0;
  int64_t booked_ = 0;
  struct Owned {
    size_t bytes;  // as asked for
    uint64_t context;
  };
  std::map<uintptr_t, Owned> allocations_;  // by base
  std::set<uint64_t> own_contexts_;
  std::map<uintptr_t, Chunk> chunks_;
};

}  // namespace oomtrace::simgpu
