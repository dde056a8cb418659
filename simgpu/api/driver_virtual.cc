// CUDA driver: virtual memory management (expandable segments).
#include "simgpu/address_space.h"
#include "simgpu/api/driver.h"
#include "simgpu/virtual_memory.h"

using namespace oomtrace::simgpu;

namespace {

CUresult Answer(VirtualMemory::Result result) {
  switch (result) {
    case VirtualMemory::Result::kOk:
      return CUDA_SUCCESS;
    case VirtualMemory::Result::kOutOfMemory:
      return CUDA_ERROR_OUT_OF_MEMORY;
    case VirtualMemory::Result::kInvalid:
      break;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

SIMGPU_API CUresult cuMemGetAllocationGranularity(size_t* bytes, const CUmemAllocationProp*,
                                                  CUmemAllocationGranularity_flags) {
  *bytes = kPageBytes;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  uintptr_t base = 0;
  const CUresult result = Answer(VirtualMemory::Get().Reserve(bytes, Machine::current_device(), &base));
  *address = base;
  return result;
}

SIMGPU_API CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  return Answer(VirtualMemory::Get().FreeRange(address, bytes));
}

SIMGPU_API CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes, const CUmemAllocationProp* prop,
                                unsigned long long) {
  if (prop == nullptr || !Machine::Get().valid(prop->location.id)) return CUDA_ERROR_INVALID_VALUE;
  const int device = prop->location.id;
  if (const Refusal refusal = Machine::Get().RequireContext(device); refusal != Refusal::kNone) return Driver(refusal);
  uint64_t number = 0;
  const auto created = VirtualMemory::Get().Create(Machine::Get().device(device), device, bytes, &number);
  Log("cuMemCreate(%zu) = %d, free %lld", bytes, static_cast<int>(Answer(created)),
      static_cast<long long>(Machine::Get().device(device).free()));
  *handle = number;
  return Answer(created);
}

SIMGPU_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return Answer(VirtualMemory::Get().Release(handle));
}

SIMGPU_API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  uint64_t number = 0;
  const auto result = VirtualMemory::Get().RetainAt(reinterpret_cast<uintptr_t>(address), &number);
  *handle = number;
  return Answer(result);
}

SIMGPU_API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                           CUmemGenericAllocationHandle handle) {
  const std::optional<int> device = VirtualMemory::Get().DeviceOf(handle);
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  *prop = {};
  prop->type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop->location = {CU_MEM_LOCATION_TYPE_DEVICE, *device};
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                             unsigned long long) {
  return Answer(VirtualMemory::Get().Map(address, bytes, offset, handle));
}

SIMGPU_API CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  return Answer(VirtualMemory::Get().Unmap(address, bytes));
}

SIMGPU_API CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc*, size_t) {
  return Answer(VirtualMemory::Get().CheckMapped(address, bytes));
}

SIMGPU_API CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation*, CUdeviceptr address) {
  *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  return Answer(VirtualMemory::Get().CheckMapped(address, 1));
}

// What is exported is the number of the handle, in the file descriptor's place.
// What is exported is a number that is no open descriptor, so that a program may close it.
constexpr uintptr_t kNoDescriptor = uintptr_t{1} << 30;

SIMGPU_API CUresult cuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                                 CUmemAllocationHandleType, unsigned long long) {
  if (!VirtualMemory::Get().SizeOf(handle)) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<int*>(shareable) = static_cast<int>(handle | kNoDescriptor);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                                   CUmemAllocationHandleType) {
  const auto exported = reinterpret_cast<uintptr_t>(shareable) & ~kNoDescriptor;
  const std::optional<size_t> bytes = VirtualMemory::Get().SizeOf(exported);
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *handle = VirtualMemory::Get().Adopt(*VirtualMemory::Get().DeviceOf(exported), *bytes);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMulticastCreate(CUmemGenericAllocationHandle* handle, const CUmulticastObjectProp* properties) {
  *handle = VirtualMemory::Get().Adopt(Machine::current_device(), properties->size);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle, CUdevice) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuMulticastBindMem(CUmemGenericAllocationHandle, size_t, CUmemGenericAllocationHandle, size_t,
                                       size_t, unsigned long long) {
  return CUDA_SUCCESS;
}
