// The hook that makes a recycled block of PyTorch's caching allocator read as zeros again.
#pragma once

namespace oomtrace::simgpu {

// Finds the real c10::reportMemoryUsageToProfiler, if libc10 is loaded. Must not be called under a lock that the
// loader may wait for; later calls are free.
void FindTorchAllocatorReport();

}  // namespace oomtrace::simgpu
