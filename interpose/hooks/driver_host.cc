// Pinned host memory asked of the CUDA driver: recorded, and never counted as device memory.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

OOMTRACE_EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kHost, Written(success, pointer), bytes};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemAllocHost), given, pointer, bytes);
}

OOMTRACE_EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kHost, Written(success, pointer), bytes};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemHostAlloc), given, pointer, bytes, flags);
}

OOMTRACE_EXPORT CUresult cuMemFreeHost(void* pointer) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemFreeHost), {.block = Number(pointer)}, pointer);
}

OOMTRACE_EXPORT CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned int flags) {
  const auto given = [=](bool) { return DeviceAllocation{MemoryKind::kRegistered, Number(pointer), bytes}; };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemHostRegister), given, pointer, bytes, flags);
}

OOMTRACE_EXPORT CUresult cuMemHostUnregister(void* pointer) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemHostUnregister), {.block = Number(pointer)}, pointer);
}
