// Device memory asked of the CUDA runtime.
#include <cuda_runtime_api.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

cudaError_t MallocAsync(const HookSite& site, void** pointer, size_t bytes, cudaStream_t stream) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kPooled, Written(success, pointer), bytes, Number(stream)};
  };
  return CallAllocating<cudaError_t>(site, given, pointer, bytes, stream);
}

cudaError_t MallocFromPool(const HookSite& site, void** pointer, size_t bytes, cudaMemPool_t pool,
                           cudaStream_t stream) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kPooled, Written(success, pointer), bytes, Number(stream), Number(pool)};
  };
  return CallAllocating<cudaError_t>(site, given, pointer, bytes, pool, stream);
}

cudaError_t FreeAsync(const HookSite& site, void* pointer, cudaStream_t stream) {
  return CallReleasing<cudaError_t>(site, {.block = Number(pointer), .stream = Number(stream)}, pointer, stream);
}

}  // namespace

OOMTRACE_EXPORT cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kDevice, Written(success, pointer), bytes};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMalloc), given, pointer, bytes);
}

OOMTRACE_EXPORT cudaError_t cudaMallocManaged(void** pointer, size_t bytes, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kManaged, Written(success, pointer), bytes};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMallocManaged), given, pointer, bytes, flags);
}

OOMTRACE_EXPORT cudaError_t cudaMallocPitch(void** pointer, size_t* pitch, size_t width, size_t height) {
  const auto given = [=](bool success) {
    const size_t row = success && pitch != nullptr ? *pitch : width;
    return DeviceAllocation{MemoryKind::kDevice, Written(success, pointer), row * height};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMallocPitch), given, pointer, pitch, width, height);
}

OOMTRACE_EXPORT cudaError_t cudaMalloc3D(cudaPitchedPtr* pitched, cudaExtent extent) {
  const auto given = [=](bool success) {
    const bool written = success && pitched != nullptr;
    const size_t row = written ? pitched->pitch : extent.width;
    return DeviceAllocation{MemoryKind::kDevice, written ? Number(pitched->ptr) : 0,
                            row * extent.height * extent.depth};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMalloc3D), given, pitched, extent);
}

OOMTRACE_EXPORT cudaError_t cudaFree(void* pointer) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kFree), {.block = Number(pointer)}, pointer);
}

OOMTRACE_EXPORT cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  return MallocAsync(OOMTRACE_SITE(kMallocAsync), pointer, bytes, stream);
}

OOMTRACE_EXPORT cudaError_t cudaMallocAsync_ptsz(void** pointer, size_t bytes, cudaStream_t stream) {
  return MallocAsync(OOMTRACE_SITE(kMallocAsyncPtsz), pointer, bytes, stream);
}

OOMTRACE_EXPORT cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t pool,
                                                    cudaStream_t stream) {
  return MallocFromPool(OOMTRACE_SITE(kMallocFromPoolAsync), pointer, bytes, pool, stream);
}

OOMTRACE_EXPORT cudaError_t cudaMallocFromPoolAsync_ptsz(void** pointer, size_t bytes, cudaMemPool_t pool,
                                                         cudaStream_t stream) {
  return MallocFromPool(OOMTRACE_SITE(kMallocFromPoolAsyncPtsz), pointer, bytes, pool, stream);
}

OOMTRACE_EXPORT cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  return FreeAsync(OOMTRACE_SITE(kFreeAsync), pointer, stream);
}

OOMTRACE_EXPORT cudaError_t cudaFreeAsync_ptsz(void* pointer, cudaStream_t stream) {
  return FreeAsync(OOMTRACE_SITE(kFreeAsyncPtsz), pointer, stream);
}

OOMTRACE_EXPORT cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const cudaError_t result = CallRefusable<cudaError_t>(OOMTRACE_SITE(kMemGetInfo), kCurrentDevice, free, total);
  if (result == cudaSuccess && free != nullptr && total != nullptr) RecordMemoryAnswer(*free, *total);
  return result;
}
