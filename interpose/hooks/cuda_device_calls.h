// What the hooks of the CUDA runtime and of the driver have in common: turning a call's outcome into events.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

// Around each real call: the Record functions below are silent while one is open on this thread.
class InsideRuntime {
 public:
  InsideRuntime();
  ~InsideRuntime();
  InsideRuntime(const InsideRuntime&) = delete;
  InsideRuntime& operator=(const InsideRuntime&) = delete;
};

enum class MemoryQuestion {
  kAlways,      // a segment: rare, and the device's free bytes change with each
  kNowAndThen,  // from a pool: too frequent to ask each time; asked after a failure and once a millisecond
};

struct DeviceAllocation {
  const char* api;     // static storage
  const void* caller;  // return address
  uint64_t address;    // 0 where it failed
  uint64_t bytes;      // as asked for
  int result;          // cudaError_t or CUresult: 0 is success, 2 out of memory in both
  MemoryQuestion question;
};

void RecordDeviceAllocation(const DeviceAllocation& allocation);
void RecordDeviceRelease(const char* api, const void* caller, const void* pointer, uint64_t ticks);
void RecordMemoryAnswer(uint64_t free, uint64_t total);
void RecordMemoryNow();
// Copies of fewer bytes are not recorded: they are scalars and indices, and there are many.
inline constexpr size_t kSmallestCopy = 512;
void RecordCopyFromHost(const void* destination, size_t bytes);

}  // namespace oomtrace
