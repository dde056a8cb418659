// Virtual memory management: physical memory by handle, and what it is mapped to (PyTorch's expandable segments, NCCL).
// An address range takes no memory, and exporting a handle changes nothing here: neither is recorded.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

OOMTRACE_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                                     const CUmemAllocationProp* properties, unsigned long long flags) {
  const auto given = [=](bool success) {
    const bool on_device = properties == nullptr || properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    return DeviceAllocation{.kind = on_device ? MemoryKind::kPhysical : MemoryKind::kHostPhysical,
                            .block = Written(success, handle),
                            .bytes = bytes,
                            .device = properties != nullptr && on_device ? properties->location.id : kCurrentDevice};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemCreate), given, handle, bytes, properties, flags);
}

OOMTRACE_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemRelease), {.kind = MemoryKind::kPhysical, .block = handle},
                                 handle);
}

OOMTRACE_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  const auto given = [=](bool success) { return DeviceAllocation{MemoryKind::kRetained, Written(success, handle)}; };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemRetainAllocationHandle), given, handle, address);
}

OOMTRACE_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                                        CUmemAllocationHandleType type) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kImportedPhysical, Written(success, handle)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemImportFromShareableHandle), given, handle, shareable, type);
}

// The memory is that of the handles which are bound to it.
OOMTRACE_EXPORT CUresult cuMulticastCreate(CUmemGenericAllocationHandle* handle,
                                           const CUmulticastObjectProp* properties) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kMulticast, Written(success, handle),
                            properties != nullptr ? properties->size : 0};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMulticastCreate), given, handle, properties);
}

OOMTRACE_EXPORT CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                                  unsigned long long flags) {
  const auto given = [=](bool) {
    return DeviceAllocation{.kind = MemoryKind::kMapping, .block = address, .bytes = bytes, .handle = handle};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemMap), given, address, bytes, offset, handle, flags);
}

OOMTRACE_EXPORT CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemUnmap),
                                 {.kind = MemoryKind::kMapping, .block = address, .bytes = bytes}, address, bytes);
}
