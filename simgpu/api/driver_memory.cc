// CUDA driver: device memory, copies, pointers. The runtime's calls do the work: one model, one set of numbers.
#include <cuda_runtime_api.h>

#include <cstring>

#include "simgpu/activity.h"
#include "simgpu/address_space.h"
#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"
#include "simgpu/virtual_memory.h"

using namespace oomtrace::simgpu;

namespace {

cudaStream_t Stream(CUstream stream) { return reinterpret_cast<cudaStream_t>(stream); }

CUresult AllocateOn(CUdeviceptr* address, cudaError_t (*allocate)(void**, size_t), size_t bytes) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  void* pointer = nullptr;
  const cudaError_t error = allocate(&pointer, bytes);
  *address = reinterpret_cast<CUdeviceptr>(pointer);
  return Driver(error);
}

CUresult FillElements(CUdeviceptr to, const void* element, size_t element_bytes, size_t count,
                      CUstream stream = nullptr) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  const ApiCall call(kDriverApi, CUPTI_DRIVER_TRACE_CBID_cuMemsetD8Async, "cuMemset");
  RunFill(Pointer(to), *static_cast<const unsigned char*>(element), element_bytes * count,
          reinterpret_cast<uintptr_t>(stream));
  unsigned char bytes[4];
  std::memcpy(bytes, element, element_bytes);
  bool uniform = true;
  for (size_t i = 1; i < element_bytes; ++i) uniform = uniform && bytes[i] == bytes[0];
  if (uniform) {
    FillBytes(Pointer(to), bytes[0], element_bytes * count);
    return CUDA_SUCCESS;
  }
  for (size_t i = 0; i < count; ++i) CopyBytes(Pointer(to + i * element_bytes), element, element_bytes);
  return CUDA_SUCCESS;
}

}  // namespace

SIMGPU_API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return AllocateOn(
      address, [](void** pointer, size_t size) { return cudaMalloc(pointer, size); }, bytes);
}

SIMGPU_API CUresult cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned int) {
  return AllocateOn(
      address, [](void** pointer, size_t size) { return cudaMallocManaged(pointer, size, cudaMemAttachGlobal); },
      bytes);
}

SIMGPU_API CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height, unsigned int) {
  void* pointer = nullptr;
  const cudaError_t error = cudaMallocPitch(&pointer, pitch, width, height);
  *address = reinterpret_cast<CUdeviceptr>(pointer);
  return Driver(error);
}

SIMGPU_API CUresult cuMemFree_v2(CUdeviceptr address) { return Driver(cudaFree(Pointer(address))); }

SIMGPU_API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream) {
  return AllocateOn(
      address, [](void** pointer, size_t size) { return cudaMallocAsync(pointer, size, nullptr); }, bytes);
}

SIMGPU_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  return Driver(cudaFreeAsync(Pointer(address), Stream(stream)));
}

SIMGPU_API CUresult cuMemGetInfo_v2(size_t* free, size_t* total) { return Driver(cudaMemGetInfo(free, total)); }

SIMGPU_API CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) { return Driver(cudaMallocHost(pointer, bytes)); }
SIMGPU_API CUresult cuMemFreeHost(void* pointer) { return Driver(cudaFreeHost(pointer)); }

SIMGPU_API CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  return Driver(cudaHostAlloc(pointer, bytes, flags));
}

SIMGPU_API CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned int flags) {
  return Driver(cudaHostRegister(pointer, bytes, flags));
}

SIMGPU_API CUresult cuMemHostUnregister(void* pointer) { return Driver(cudaHostUnregister(pointer)); }

SIMGPU_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* host, unsigned int flags) {
  void* pointer = nullptr;
  const cudaError_t error = cudaHostGetDevicePointer(&pointer, host, flags);
  *device = reinterpret_cast<CUdeviceptr>(pointer);
  return Driver(error);
}

SIMGPU_API CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  const std::optional<AddressRange> range = AddressSpace::Get().Find(Pointer(address));
  if (!range) return CUDA_ERROR_NOT_FOUND;
  CUdeviceptr found_base = range->base;
  size_t found_bytes = range->bytes;
  if (const auto allocation = Machine::Get().device(range->device).Find(address)) {
    found_base = allocation->base;
    found_bytes = allocation->bytes;
  } else if (const auto mapping = VirtualMemory::Get().Find(address)) {
    found_base = mapping->base;
    found_bytes = mapping->bytes;
  }
  if (base != nullptr) *base = found_base;
  if (bytes != nullptr) *bytes = found_bytes;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return Driver(cudaMemcpy(Pointer(to), Pointer(from), bytes, cudaMemcpyDefault));
}

SIMGPU_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return Driver(cudaMemcpyAsync(Pointer(to), Pointer(from), bytes, cudaMemcpyDefault, Stream(stream)));
}

SIMGPU_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return Driver(cudaMemcpy(Pointer(to), from, bytes, cudaMemcpyHostToDevice));
}

SIMGPU_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return Driver(cudaMemcpyAsync(Pointer(to), from, bytes, cudaMemcpyHostToDevice, Stream(stream)));
}

SIMGPU_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return Driver(cudaMemcpy(to, Pointer(from), bytes, cudaMemcpyDeviceToHost));
}

SIMGPU_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return Driver(cudaMemcpyAsync(to, Pointer(from), bytes, cudaMemcpyDeviceToHost, Stream(stream)));
}

SIMGPU_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return Driver(cudaMemcpy(Pointer(to), Pointer(from), bytes, cudaMemcpyDeviceToDevice));
}

SIMGPU_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return Driver(cudaMemcpyAsync(Pointer(to), Pointer(from), bytes, cudaMemcpyDeviceToDevice, Stream(stream)));
}

SIMGPU_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return FillElements(to, &value, sizeof value, count);
}
SIMGPU_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return FillElements(to, &value, sizeof value, count, stream);
}
SIMGPU_API CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return FillElements(to, &value, sizeof value, count);
}
SIMGPU_API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return FillElements(to, &value, sizeof value, count, stream);
}
SIMGPU_API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count) {
  return FillElements(to, &value, sizeof value, count);
}
SIMGPU_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
  return FillElements(to, &value, sizeof value, count, stream);
}

SIMGPU_API CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
  const std::optional<AddressRange> range = AddressSpace::Get().Find(Pointer(address));
  if (!range) return CUDA_ERROR_INVALID_VALUE;
  const bool on_device = range->kind == MemoryKind::kDevice || range->kind == MemoryKind::kManaged;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      *static_cast<CUcontext*>(value) = ContextOf(range->device);
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *static_cast<unsigned int*>(value) = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      *static_cast<CUdeviceptr*>(value) = address;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *static_cast<int*>(value) = range->device;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      *static_cast<bool*>(value) = range->kind == MemoryKind::kManaged;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      *static_cast<bool*>(value) = false;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      *static_cast<unsigned long long*>(value) = range->base;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return cuMemGetAddressRange_v2(static_cast<CUdeviceptr*>(value), nullptr, address);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return cuMemGetAddressRange_v2(nullptr, static_cast<size_t*>(value), address);
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

// Each value that is not known for that address is 0, as the driver does it.
SIMGPU_API CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute* attributes, void** values,
                                           CUdeviceptr address) {
  for (unsigned int i = 0; i < count; ++i) {
    if (cuPointerGetAttribute(values[i], attributes[i], address) == CUDA_SUCCESS) continue;
    const bool is_pointer = attributes[i] == CU_POINTER_ATTRIBUTE_CONTEXT ||
                            attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
                            attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER;
    std::memset(values[i], 0, is_pointer ? sizeof(void*) : sizeof(int));
  }
  return CUDA_SUCCESS;
}
