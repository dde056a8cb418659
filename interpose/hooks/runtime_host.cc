// Pinned host memory asked of the CUDA runtime: recorded, and never counted as device memory.
#include <cuda_runtime_api.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

OOMTRACE_EXPORT cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kHost, Written(success, pointer), bytes};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMallocHost), given, pointer, bytes);
}

OOMTRACE_EXPORT cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kHost, Written(success, pointer), bytes};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kHostAlloc), given, pointer, bytes, flags);
}

OOMTRACE_EXPORT cudaError_t cudaFreeHost(void* pointer) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kFreeHost), {.block = Number(pointer)}, pointer);
}

OOMTRACE_EXPORT cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned int flags) {
  const auto given = [=](bool) { return DeviceAllocation{MemoryKind::kRegistered, Number(pointer), bytes}; };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kHostRegister), given, pointer, bytes, flags);
}

OOMTRACE_EXPORT cudaError_t cudaHostUnregister(void* pointer) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kHostUnregister), {.block = Number(pointer)}, pointer);
}
