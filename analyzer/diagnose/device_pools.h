// Memory that a process holds without using it, or that its allocations take beyond their bytes: what stream-ordered
// pools and CuPy's pool keep, and the driver's pages.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Bytes that the program has freed into its stream-ordered pools by `moment`: what they can keep at most, the highest
// that lived in each until then, less what lives.
int64_t FreedIntoPools(const Timeline& timeline, int64_t moment);

// The same of the pools that the refused call did not ask.
int64_t FreedIntoOtherPools(const Timeline& timeline, const OutOfMemory& refusal);

// Whether the refused call asked a stream-ordered pool, which serves it from what it keeps first.
bool InStreamOrder(const OutOfMemory& refusal);

// Bytes of contexts and code: as they were measured when they were made, else what the device missed beyond the
// recorded allocations when it was last read before anything was freed into a pool; 0: neither is in the trace.
int64_t MeasuredOverhead(const Timeline& timeline, int64_t moment);

// What live allocations take beyond their bytes at most: the driver gives out pages of 2 MiB, one of 1 MiB and more has
// pages of its own, and smaller ones share.
int64_t PageRounding(const Timeline& timeline, int64_t moment);

// Libraries that take memory from the device in large pieces and hand it on themselves: what of it is in use cannot be
// seen from outside.
enum class PoolKind { kNone, kCupy, kXla };

class Pools {
 public:
  Pools(const Timeline& timeline, int64_t moment);

  PoolKind Of(const std::string& library) const;
  // Of what CuPy's pool holds, the bytes that may be idle: what it took since it last gave something back.
  int64_t cupy_idle_at_most() const { return cupy_idle_; }

 private:
  bool platform_ = false;         // JAX asks the device for each array
  bool cupy_gives_back_ = false;  // CuPy runs without its pool, or the program empties it again and again
  int64_t cupy_idle_ = 0;
};

// Whether CuPy's pool made the request: it gives its unused blocks back after a refusal and asks again, twice
// (cupy/cuda/memory.pyx, SingleDeviceMemoryPool._try_malloc).
bool CupyGaveUp(const Timeline& timeline, const OutOfMemory& refusal);

}  // namespace oomtrace
