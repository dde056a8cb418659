// Memory pools and graphs' memory nodes, asked of the CUDA driver.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/graph_memory.h"

using namespace oomtrace;
using wire::MemoryKind;

OOMTRACE_EXPORT CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  const auto given = [=](bool success) {
    const bool on_device = properties != nullptr && properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    return DeviceAllocation{.kind = MemoryKind::kPool,
                            .block = Written(success, pool),
                            .device = on_device ? properties->location.id : kCurrentDevice};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemPoolCreate), given, pool, properties);
}

OOMTRACE_EXPORT CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  const CUresult result = CallReleasing<CUresult>(OOMTRACE_SITE(kCuMemPoolDestroy),
                                                  {.kind = MemoryKind::kPhysical, .block = Number(pool)}, pool);
  if (result == CUDA_SUCCESS && !InsideCuda::Now()) RecordMemoryNow();
  return result;
}

OOMTRACE_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
  return CallChangingFree<CUresult>(OOMTRACE_SITE(kCuMemPoolTrimTo), pool, keep);
}

// A lower release threshold lets the pool give memory back.
OOMTRACE_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  return CallChangingFree<CUresult>(OOMTRACE_SITE(kCuMemPoolSetAttribute), pool, attribute, value);
}

OOMTRACE_EXPORT CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* pool, void* shareable,
                                                            CUmemAllocationHandleType type, unsigned long long flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kImportedPhysical, Written(success, pool)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemPoolImportFromShareableHandle), given, pool, shareable, type,
                                  flags);
}

OOMTRACE_EXPORT CUresult cuMemPoolImportPointer(CUdeviceptr* address, CUmemoryPool pool, CUmemPoolPtrExportData* data) {
  const auto given = [=](bool success) {
    return DeviceAllocation{.kind = MemoryKind::kImported, .block = Written(success, address), .handle = Number(pool)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMemPoolImportPointer), given, address, pool, data);
}

OOMTRACE_EXPORT CUresult cuGraphAddMemAllocNode(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies,
                                                size_t count, CUDA_MEM_ALLOC_NODE_PARAMS* parameters) {
  const auto given = [=](bool success) {
    if (!success || parameters == nullptr) return DeviceAllocation{MemoryKind::kGraph};
    return DeviceAllocation{.kind = MemoryKind::kGraph,
                            .block = parameters->dptr,
                            .bytes = parameters->bytesize,
                            .handle = Number(graph),
                            .device = parameters->poolProps.location.id};
  };
  const CUresult result = CallAllocating<CUresult>(OOMTRACE_SITE(kCuGraphAddMemAllocNode), given, node, graph,
                                                   dependencies, count, parameters);
  if (result == 0) NoteGraphMemoryNode();
  return result;
}

OOMTRACE_EXPORT CUresult cuDeviceGraphMemTrim(CUdevice device) {
  const HookSite site = OOMTRACE_SITE(kCuDeviceGraphMemTrim);
  const CUresult result = CallChangingFree<CUresult>(site, device);
  RecordGraphMemory(site);
  return result;
}
