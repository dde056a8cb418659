// What the hooks of the CUDA runtime and of the driver have in common: turning a call's outcome into events.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/wire.h"

namespace oomtrace {

struct HookSite;

// Around each real call: hooks below it on this thread pass through without a record. The outermost call is the one
// that somebody asked for.
class InsideCuda {
 public:
  InsideCuda();
  ~InsideCuda();
  InsideCuda(const InsideCuda&) = delete;
  InsideCuda& operator=(const InsideCuda&) = delete;

  static bool Now();
};

inline constexpr int kCurrentDevice = -1;

struct DeviceAllocation {
  wire::MemoryKind kind = wire::MemoryKind::kDevice;
  uint64_t block = 0;  // address or handle (wire::MemoryKind), 0 where the call failed
  uint64_t bytes = 0;  // as asked for
  uint64_t stream = 0;
  uint64_t handle = 0;
  int device = kCurrentDevice;
};

struct Returned {
  wire::MemoryKind kind = wire::MemoryKind::kDevice;
  uint64_t block = 0;
  uint64_t stream = 0;
  uint64_t bytes = 0;
  int device = kCurrentDevice;

  // cudaFree(nullptr) is how programs make a context.
  bool Something() const { return block != 0 || kind == wire::MemoryKind::kContext; }
};

// Free bytes of the current device at some moment.
struct FreeBytes {
  bool known = false;
  uint64_t free = 0;
};
// Nothing where no context is current: asking makes none.
FreeBytes FreeBytesNow();

// `result`: cudaError_t or CUresult.
void RecordDeviceAllocation(const HookSite& site, const DeviceAllocation& allocation, int result);
// A call that takes memory by no size was refused for want of memory. `device`: that it was about.
void RecordRefusedCall(const HookSite& site, int device);
// After success. `allocation.bytes` is what the free bytes fell by.
void RecordMeasured(const HookSite& site, const DeviceAllocation& allocation, const FreeBytes& before);
void RecordDeviceRelease(const HookSite& site, const Returned& returned, uint64_t ticks);
void RecordMemoryAnswer(uint64_t free, uint64_t total);
void RecordMemoryNow();
// The process has made a CUDA context of its own: from now on allocations say in which they were made.
void NoteOwnContext();
// Copies of fewer bytes are not recorded: they are scalars and indices, and there are many.
inline constexpr size_t kSmallestCopy = 512;
void RecordCopyFromHost(const void* destination, size_t bytes);

}  // namespace oomtrace
