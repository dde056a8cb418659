// Device memory asked of the CUDA driver.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

CUresult AllocAsync(const HookSite& site, CUdeviceptr* address, size_t bytes, CUstream stream) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kPooled, Written(success, address), bytes, Number(stream)};
  };
  return CallAllocating<CUresult>(site, given, address, bytes, stream);
}

CUresult AllocFromPool(const HookSite& site, CUdeviceptr* address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kPooled, Written(success, address), bytes, Number(stream), Number(pool)};
  };
  return CallAllocating<CUresult>(site, given, address, bytes, pool, stream);
}

CUresult FreeAsync(const HookSite& site, CUdeviceptr address, CUstream stream) {
  return CallReleasing<CUresult>(site, {.block = address, .stream = Number(stream)}, address, stream);
}

}  // namespace

OOMTRACE_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kDevice, Written(success, address), bytes};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemAlloc), given, address, bytes);
}

OOMTRACE_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height,
                                            unsigned int element) {
  const auto given = [=](bool success) {
    const size_t row = success && pitch != nullptr ? *pitch : width;
    return DeviceAllocation{MemoryKind::kDevice, Written(success, address), row * height};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemAllocPitch), given, address, pitch, width, height, element);
}

OOMTRACE_EXPORT CUresult cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kManaged, Written(success, address), bytes};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemAllocManaged), given, address, bytes, flags);
}

OOMTRACE_EXPORT CUresult cuMemFree_v2(CUdeviceptr address) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemFree), {.block = address}, address);
}

OOMTRACE_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return AllocAsync(OOMTRACE_SITE(kCuMemAllocAsync), address, bytes, stream);
}

OOMTRACE_EXPORT CUresult cuMemAllocAsync_ptsz(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return AllocAsync(OOMTRACE_SITE(kCuMemAllocAsyncPtsz), address, bytes, stream);
}

OOMTRACE_EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                                 CUstream stream) {
  return AllocFromPool(OOMTRACE_SITE(kCuMemAllocFromPoolAsync), address, bytes, pool, stream);
}

OOMTRACE_EXPORT CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                                      CUstream stream) {
  return AllocFromPool(OOMTRACE_SITE(kCuMemAllocFromPoolAsyncPtsz), address, bytes, pool, stream);
}

OOMTRACE_EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  return FreeAsync(OOMTRACE_SITE(kCuMemFreeAsync), address, stream);
}

OOMTRACE_EXPORT CUresult cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) {
  return FreeAsync(OOMTRACE_SITE(kCuMemFreeAsyncPtsz), address, stream);
}

OOMTRACE_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  const CUresult result = CallRefusable<CUresult>(OOMTRACE_SITE(kCuMemGetInfo), kCurrentDevice, free, total);
  if (result == CUDA_SUCCESS && free != nullptr && total != nullptr) RecordMemoryAnswer(*free, *total);
  return result;
}
