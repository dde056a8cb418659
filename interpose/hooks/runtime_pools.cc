// Memory pools and graphs' memory nodes, asked of the CUDA runtime.
#include <cuda_runtime_api.h>

#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/graph_memory.h"

using namespace oomtrace;
using wire::MemoryKind;

OOMTRACE_EXPORT cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  const auto given = [=](bool success) {
    const bool on_device = properties != nullptr && properties->location.type == cudaMemLocationTypeDevice;
    return DeviceAllocation{.kind = MemoryKind::kPool,
                            .block = Written(success, pool),
                            .device = on_device ? properties->location.id : kCurrentDevice};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMemPoolCreate), given, pool, properties);
}

OOMTRACE_EXPORT cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  const cudaError_t result = CallReleasing<cudaError_t>(OOMTRACE_SITE(kMemPoolDestroy),
                                                        {.kind = MemoryKind::kPhysical, .block = Number(pool)}, pool);
  if (result == cudaSuccess && !InsideCuda::Now()) RecordMemoryNow();
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep) {
  return CallChangingFree<cudaError_t>(OOMTRACE_SITE(kMemPoolTrimTo), pool, keep);
}

// A lower release threshold lets the pool give memory back.
OOMTRACE_EXPORT cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return CallChangingFree<cudaError_t>(OOMTRACE_SITE(kMemPoolSetAttribute), pool, attribute, value);
}

OOMTRACE_EXPORT cudaError_t cudaMemPoolImportFromShareableHandle(cudaMemPool_t* pool, void* shareable,
                                                                 cudaMemAllocationHandleType type, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kImportedPhysical, Written(success, pool)};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMemPoolImportFromShareableHandle), given, pool, shareable, type,
                                     flags);
}

OOMTRACE_EXPORT cudaError_t cudaMemPoolImportPointer(void** pointer, cudaMemPool_t pool,
                                                     cudaMemPoolPtrExportData* data) {
  const auto given = [=](bool success) {
    return DeviceAllocation{.kind = MemoryKind::kImported, .block = Written(success, pointer), .handle = Number(pool)};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMemPoolImportPointer), given, pointer, pool, data);
}

OOMTRACE_EXPORT cudaError_t cudaGraphAddMemAllocNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                                     const cudaGraphNode_t* dependencies, size_t count,
                                                     cudaMemAllocNodeParams* parameters) {
  const auto given = [=](bool success) {
    if (!success || parameters == nullptr) return DeviceAllocation{MemoryKind::kGraph};
    return DeviceAllocation{.kind = MemoryKind::kGraph,
                            .block = Number(parameters->dptr),
                            .bytes = parameters->bytesize,
                            .handle = Number(graph),
                            .device = parameters->poolProps.location.id};
  };
  const cudaError_t result = CallAllocating<cudaError_t>(OOMTRACE_SITE(kGraphAddMemAllocNode), given, node, graph,
                                                         dependencies, count, parameters);
  if (result == 0) NoteGraphMemoryNode();
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaDeviceGraphMemTrim(int device) {
  const HookSite site = OOMTRACE_SITE(kDeviceGraphMemTrim);
  const cudaError_t result = CallChangingFree<cudaError_t>(site, device);
  RecordGraphMemory(site);
  return result;
}
