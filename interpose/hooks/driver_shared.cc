// Memory of other processes and of other interfaces (IPC, Vulkan, Direct3D), asked of the CUDA driver. It is at an
// address here and does not count as this process's.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

// How large it is only its owner knows.
OOMTRACE_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned int flags) {
  const auto given = [=](bool success) { return DeviceAllocation{MemoryKind::kImported, Written(success, address)}; };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuIpcOpenMemHandle), given, address, handle, flags);
}

OOMTRACE_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuIpcCloseMemHandle), {.block = address}, address);
}

OOMTRACE_EXPORT CUresult cuImportExternalMemory(CUexternalMemory* memory,
                                                const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kImportedPhysical, Written(success, memory),
                            description != nullptr ? description->size : 0};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuImportExternalMemory), given, memory, description);
}

OOMTRACE_EXPORT CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr* address, CUexternalMemory memory,
                                                         const CUDA_EXTERNAL_MEMORY_BUFFER_DESC* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{.kind = MemoryKind::kImported,
                            .block = Written(success, address),
                            .bytes = description != nullptr ? description->size : 0,
                            .handle = Number(memory)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuExternalMemoryGetMappedBuffer), given, address, memory, description);
}

OOMTRACE_EXPORT CUresult cuDestroyExternalMemory(CUexternalMemory memory) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuDestroyExternalMemory),
                                 {.kind = MemoryKind::kPhysical, .block = Number(memory)}, memory);
}
