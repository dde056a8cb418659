// Memory of other processes and of other interfaces (IPC, external memory): addresses that book nothing on the device.
#include "simgpu/api/sharing.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <mutex>
#include <set>

#include "simgpu/address_space.h"
#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"
#include "simgpu/contents.h"
#include "simgpu/virtual_memory.h"

using namespace oomtrace::simgpu;

namespace {

std::mutex mutex;
std::set<uintptr_t>& Unbooked() {
  static auto* addresses = new std::set<uintptr_t>;
  return *addresses;
}

// What an IPC handle holds: the owner's allocation.
struct SharedAllocation {
  uintptr_t base;
  size_t bytes;
};

struct ExternalMemory {
  size_t bytes;
};

}  // namespace

namespace oomtrace::simgpu {

uintptr_t AddUnbooked(size_t bytes, int device) {
  const uintptr_t address = AddressSpace::Get().Map(bytes, MemoryKind::kDevice, device);
  std::lock_guard lock(mutex);
  if (address != 0) Unbooked().insert(address);
  return address;
}

bool FreeUnbooked(uintptr_t address) {
  {
    std::lock_guard lock(mutex);
    if (Unbooked().erase(address) == 0) return false;
  }
  if (const auto range = AddressSpace::Get().Find(Pointer(address)))
    Contents::Get().Drop(Pointer(address), range->bytes);
  return AddressSpace::Get().Unmap(address, MemoryKind::kDevice);
}

}  // namespace oomtrace::simgpu

SIMGPU_API cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  const auto range = AddressSpace::Get().Find(pointer);
  if (!range || range->kind != MemoryKind::kDevice) return Return(cudaErrorInvalidValue);
  SharedAllocation shared = {range->base, range->bytes};
  if (const auto found = Machine::Get().device(range->device).Find(reinterpret_cast<uintptr_t>(pointer)))
    shared = {found->base, found->bytes};
  static_assert(sizeof(shared) <= sizeof(*handle));
  std::memset(handle, 0, sizeof(*handle));
  std::memcpy(handle, &shared, sizeof(shared));
  return Return(cudaSuccess);
}

// The owner's bytes are not to be seen here: its memory is another process's.
SIMGPU_API cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  SharedAllocation shared;
  std::memcpy(&shared, &handle, sizeof(shared));
  if (shared.bytes == 0) return Return(cudaErrorInvalidValue);
  const uintptr_t address = AddUnbooked(shared.bytes, Machine::current_device());
  *pointer = Pointer(address);
  return Return(address == 0 ? cudaErrorMapBufferObjectFailed : cudaSuccess);
}

SIMGPU_API cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  return Return(FreeUnbooked(reinterpret_cast<uintptr_t>(pointer)) ? cudaSuccess : cudaErrorInvalidValue);
}

SIMGPU_API CUresult cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  return Driver(cudaIpcGetMemHandle(reinterpret_cast<cudaIpcMemHandle_t*>(handle), Pointer(address)));
}

SIMGPU_API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned int flags) {
  cudaIpcMemHandle_t same;
  static_assert(sizeof(same) == sizeof(handle));
  std::memcpy(&same, &handle, sizeof(same));
  return Driver(cudaIpcOpenMemHandle(reinterpret_cast<void**>(address), same, flags));
}

SIMGPU_API CUresult cuIpcCloseMemHandle(CUdeviceptr address) { return Driver(cudaIpcCloseMemHandle(Pointer(address))); }

SIMGPU_API cudaError_t cudaImportExternalMemory(cudaExternalMemory_t* memory,
                                                const cudaExternalMemoryHandleDesc* description) {
  SIMGPU_REQUIRE_CONTEXT();
  *memory = reinterpret_cast<cudaExternalMemory_t>(new ExternalMemory{description->size});
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaExternalMemoryGetMappedBuffer(void** pointer, cudaExternalMemory_t memory,
                                                         const cudaExternalMemoryBufferDesc* description) {
  if (description->offset + description->size > reinterpret_cast<ExternalMemory*>(memory)->bytes)
    return Return(cudaErrorInvalidValue);
  const uintptr_t address = AddUnbooked(description->size, Machine::current_device());
  *pointer = Pointer(address);
  return Return(address == 0 ? cudaErrorMapBufferObjectFailed : cudaSuccess);
}

SIMGPU_API cudaError_t cudaDestroyExternalMemory(cudaExternalMemory_t memory) {
  delete reinterpret_cast<ExternalMemory*>(memory);
  return Return(cudaSuccess);
}

SIMGPU_API CUresult cuImportExternalMemory(CUexternalMemory* memory,
                                           const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* description) {
  cudaExternalMemoryHandleDesc same = {};
  same.size = description->size;
  return Driver(cudaImportExternalMemory(reinterpret_cast<cudaExternalMemory_t*>(memory), &same));
}

SIMGPU_API CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr* address, CUexternalMemory memory,
                                                    const CUDA_EXTERNAL_MEMORY_BUFFER_DESC* description) {
  cudaExternalMemoryBufferDesc same = {};
  same.offset = description->offset;
  same.size = description->size;
  return Driver(cudaExternalMemoryGetMappedBuffer(reinterpret_cast<void**>(address),
                                                  reinterpret_cast<cudaExternalMemory_t>(memory), &same));
}

SIMGPU_API CUresult cuDestroyExternalMemory(CUexternalMemory memory) {
  return Driver(cudaDestroyExternalMemory(reinterpret_cast<cudaExternalMemory_t>(memory)));
}
