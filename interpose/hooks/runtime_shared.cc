// Memory of other processes and of other interfaces (IPC, Vulkan, Direct3D), asked of the CUDA runtime. It is at an
// address here and does not count as this process's.
#include <cuda_runtime_api.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

// How large it is only its owner knows.
OOMTRACE_EXPORT cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned int flags) {
  const auto given = [=](bool success) { return DeviceAllocation{MemoryKind::kImported, Written(success, pointer)}; };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kIpcOpenMemHandle), given, pointer, handle, flags);
}

OOMTRACE_EXPORT cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kIpcCloseMemHandle), {.block = Number(pointer)}, pointer);
}

OOMTRACE_EXPORT cudaError_t cudaImportExternalMemory(cudaExternalMemory_t* memory,
                                                     const cudaExternalMemoryHandleDesc* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kImportedPhysical, Written(success, memory),
                            description != nullptr ? description->size : 0};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kImportExternalMemory), given, memory, description);
}

OOMTRACE_EXPORT cudaError_t cudaExternalMemoryGetMappedBuffer(void** pointer, cudaExternalMemory_t memory,
                                                              const cudaExternalMemoryBufferDesc* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{.kind = MemoryKind::kImported,
                            .block = Written(success, pointer),
                            .bytes = description != nullptr ? description->size : 0,
                            .handle = Number(memory)};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kExternalMemoryGetMappedBuffer), given, pointer, memory,
                                     description);
}

OOMTRACE_EXPORT cudaError_t cudaDestroyExternalMemory(cudaExternalMemory_t memory) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kDestroyExternalMemory),
                                    {.kind = MemoryKind::kPhysical, .block = Number(memory)}, memory);
}
