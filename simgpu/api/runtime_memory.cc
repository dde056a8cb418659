// CUDA runtime: device memory, host memory, copies.
#include <cstring>
#include <new>

#include "simgpu/activity.h"
#include "simgpu/address_space.h"
#include "simgpu/api/graphs.h"
#include "simgpu/api/pools.h"
#include "simgpu/api/runtime.h"
#include "simgpu/api/sharing.h"
#include "simgpu/contents.h"

using namespace oomtrace::simgpu;

namespace oomtrace::simgpu {

void CopyBytes(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const AddressSpace& space = AddressSpace::Get();
  const bool to_device = space.IsDevice(to);
  const bool from_device = space.IsDevice(from);
  if (to_device && from_device) {
    Contents::Get().Copy(to, from, bytes);
  } else if (to_device) {
    Contents::Get().Upload(to, from, bytes);
  } else if (from_device) {
    Contents::Get().Download(to, from, bytes);
  } else {
    std::memmove(to, from, bytes);
  }
}

void FillBytes(void* to, int value, size_t bytes) {
  if (AddressSpace::Get().IsDevice(to)) {
    Contents::Get().Fill(to, value, bytes);
  } else {
    std::memset(to, value, bytes);
  }
}

}  // namespace oomtrace::simgpu

namespace {

// Rows of device memory start at multiples of this (texturePitchAlignment of every current card).
constexpr size_t kPitch = 512;
// More than any machine can map or pin: user space has 47 address bits.
constexpr size_t kMostMapped = size_t{1} << 47;

uintptr_t Number(cudaStream_t stream) { return reinterpret_cast<uintptr_t>(stream); }

cudaError_t Copy(void* to, const void* from, size_t bytes, cudaStream_t stream, bool asynchronous) {
  SIMGPU_REQUIRE_CONTEXT();
  RunCopy(to, from, bytes, Number(stream), asynchronous);
  CopyBytes(to, from, bytes);
  return Return(cudaSuccess);
}

cudaError_t Fill(void* to, int value, size_t bytes, cudaStream_t stream) {
  SIMGPU_REQUIRE_CONTEXT();
  RunFill(to, value, bytes, Number(stream));
  FillBytes(to, value, bytes);
  return Return(cudaSuccess);
}

cudaError_t CopyRows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height) {
  if (width > to_pitch || width > from_pitch) return Return(cudaErrorInvalidPitchValue);
  for (size_t row = 0; row < height; ++row) {
    CopyBytes(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
  }
  return Return(cudaSuccess);
}

}  // namespace

SIMGPU_API cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMalloc_v3020, "cudaMalloc");
  if (pointer == nullptr) return Return(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return Return(cudaSuccess);
  DeviceMemory& memory = Machine::Get().current();
  const uintptr_t address = memory.Allocate(bytes, Machine::own_context());
  Log("cudaMalloc(%zu) = %#zx, free %lld", bytes, address, static_cast<long long>(memory.free()));
  if (address == 0) return Return(cudaErrorMemoryAllocation);
  ChangeMemory({.allocation = true,
                .kind = CUPTI_ACTIVITY_MEMORY_KIND_DEVICE,
                .address = address,
                .bytes = bytes,
                .device = Machine::current_device()},
               __builtin_return_address(0));
  *pointer = reinterpret_cast<void*>(address);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMallocPitch(void** pointer, size_t* pitch, size_t width, size_t height) {
  size_t bytes = 0;
  if (width > kMostMapped || __builtin_mul_overflow(*pitch = RoundUp(width, kPitch), height, &bytes)) {
    return Return(cudaErrorMemoryAllocation);
  }
  return cudaMalloc(pointer, bytes);
}

SIMGPU_API cudaError_t cudaMalloc3D(cudaPitchedPtr* pitched, cudaExtent extent) {
  if (extent.width > kMostMapped) return Return(cudaErrorMemoryAllocation);
  *pitched = {nullptr, RoundUp(extent.width, kPitch), extent.width, extent.height};
  size_t bytes = 0;
  if (__builtin_mul_overflow(pitched->pitch, extent.height, &bytes) ||
      __builtin_mul_overflow(bytes, extent.depth, &bytes)) {
    return Return(cudaErrorMemoryAllocation);
  }
  return cudaMalloc(&pitched->ptr, bytes);
}

SIMGPU_API cudaError_t cudaMallocManaged(void** pointer, size_t bytes, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  if (bytes == 0) return Return(cudaErrorInvalidValue);
  if (bytes > kMostMapped) return Return(cudaErrorMemoryAllocation);
  // Managed memory takes device pages only when a kernel touches it, and kernels touch nothing here.
  const uintptr_t address = AddressSpace::Get().Map(bytes, MemoryKind::kManaged, Machine::current_device());
  if (address != 0) {
    ChangeMemory({.allocation = true,
                  .kind = CUPTI_ACTIVITY_MEMORY_KIND_MANAGED,
                  .address = address,
                  .bytes = bytes,
                  .device = Machine::current_device()},
                 __builtin_return_address(0));
  }
  *pointer = reinterpret_cast<void*>(address);
  return Return(address == 0 ? cudaErrorMemoryAllocation : cudaSuccess);
}

SIMGPU_API cudaError_t cudaFree(void* pointer) {
  SIMGPU_REQUIRE_CONTEXT();
  if (pointer == nullptr) return Return(cudaSuccess);
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaFree_v3020, "cudaFree");
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  const std::optional<AddressRange> range = AddressSpace::Get().Find(pointer);
  if (!range) return Return(cudaErrorInvalidValue);
  if (range->kind == MemoryKind::kManaged && range->base == address) {
    ChangeMemory({.allocation = false,
                  .kind = CUPTI_ACTIVITY_MEMORY_KIND_MANAGED,
                  .address = address,
                  .bytes = range->bytes,
                  .device = range->device},
                 __builtin_return_address(0));
    Contents::Get().Drop(pointer, range->bytes);
    AddressSpace::Get().Unmap(address, MemoryKind::kManaged);
    return Return(cudaSuccess);
  }
  if (range->kind != MemoryKind::kDevice) return Return(cudaErrorInvalidValue);
  DeviceMemory& memory = Machine::Get().device(range->device);
  const auto allocation = memory.Find(address);
  if (!memory.Free(address) && !FreeToPool(address) && !Graphs().Free(address) && !FreeUnbooked(address))
    return Return(cudaErrorInvalidValue);
  ChangeMemory({.allocation = false,
                .kind = CUPTI_ACTIVITY_MEMORY_KIND_DEVICE,
                .address = address,
                .bytes = allocation ? allocation->bytes : range->bytes,
                .device = range->device},
               __builtin_return_address(0));
  Log("cudaFree(%#zx), free %lld", address, static_cast<long long>(memory.free()));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  SIMGPU_REQUIRE_CONTEXT();
  const DeviceMemory& memory = Machine::Get().current();
  if (free != nullptr) *free = static_cast<size_t>(memory.free());
  if (total != nullptr) *total = static_cast<size_t>(memory.total());
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  if (bytes == 0) {
    *pointer = nullptr;
    return Return(cudaSuccess);
  }
  if (bytes > kMostMapped) return Return(cudaErrorMemoryAllocation);
  const uintptr_t address = AddressSpace::Get().Map(bytes, MemoryKind::kPinnedHost, Machine::current_device());
  *pointer = reinterpret_cast<void*>(address);
  return Return(address == 0 ? cudaErrorMemoryAllocation : cudaSuccess);
}

SIMGPU_API cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

SIMGPU_API cudaError_t cudaFreeHost(void* pointer) {
  if (pointer == nullptr) return Return(cudaSuccess);
  const bool known = AddressSpace::Get().Unmap(reinterpret_cast<uintptr_t>(pointer), MemoryKind::kPinnedHost);
  return Return(known ? cudaSuccess : cudaErrorInvalidValue);
}

SIMGPU_API cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  if (bytes == 0 || bytes > kMostMapped) return Return(cudaErrorInvalidValue);
  const bool fresh =
      AddressSpace::Get().Register(reinterpret_cast<uintptr_t>(pointer), bytes, Machine::current_device());
  return Return(fresh ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered);
}

SIMGPU_API cudaError_t cudaHostUnregister(void* pointer) {
  const bool known = AddressSpace::Get().Unregister(reinterpret_cast<uintptr_t>(pointer));
  return Return(known ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

SIMGPU_API cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned int) {
  *device = host;
  return Return(AddressSpace::Get().Find(host) ? cudaSuccess : cudaErrorInvalidValue);
}

SIMGPU_API cudaError_t cudaHostGetFlags(unsigned int* flags, void* host) {
  *flags = cudaHostAllocPortable | cudaHostAllocMapped;
  return Return(AddressSpace::Get().Find(host) ? cudaSuccess : cudaErrorInvalidValue);
}

SIMGPU_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  // Four fields: the reserved space behind them exists since CUDA 13, and a program of CUDA 12 has no room for it.
  attributes->devicePointer = attributes->hostPointer = nullptr;
  const std::optional<AddressRange> range = AddressSpace::Get().Find(pointer);
  attributes->device = range ? range->device : cudaInvalidDeviceId;
  attributes->type = cudaMemoryTypeUnregistered;
  if (!range) return Return(cudaSuccess);
  void* address = const_cast<void*>(pointer);
  attributes->devicePointer = address;
  switch (range->kind) {
    case MemoryKind::kDevice:
      attributes->type = cudaMemoryTypeDevice;
      break;
    case MemoryKind::kManaged:
      attributes->type = cudaMemoryTypeManaged;
      attributes->hostPointer = address;
      break;
    case MemoryKind::kPinnedHost:
    case MemoryKind::kRegisteredHost:
      attributes->type = cudaMemoryTypeHost;
      attributes->hostPointer = address;
      break;
  }
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpy_v3020, "cudaMemcpy");
  return Copy(to, from, bytes, nullptr, false);
}

SIMGPU_API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyAsync_v3020, "cudaMemcpyAsync");
  return Copy(to, from, bytes, stream, true);
}

SIMGPU_API cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t bytes) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyPeer_v4000, "cudaMemcpyPeer");
  return Copy(to, from, bytes, nullptr, false);
}

SIMGPU_API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyPeerAsync_v4000, "cudaMemcpyPeerAsync");
  return Copy(to, from, bytes, stream, true);
}

SIMGPU_API cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                    size_t height, cudaMemcpyKind) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpy2D_v3020, "cudaMemcpy2D");
  RunCopy(to, from, width * height, 0, false);
  return CopyRows(to, to_pitch, from, from_pitch, width, height);
}

SIMGPU_API cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                         size_t height, cudaMemcpyKind, cudaStream_t stream) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpy2DAsync_v3020, "cudaMemcpy2DAsync");
  RunCopy(to, from, width * height, Number(stream), true);
  return CopyRows(to, to_pitch, from, from_pitch, width, height);
}

SIMGPU_API cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemset_v3020, "cudaMemset");
  return Fill(to, value, bytes, nullptr);
}

SIMGPU_API cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMemsetAsync_v3020, "cudaMemsetAsync");
  return Fill(to, value, bytes, stream);
}

SIMGPU_API cudaError_t cudaMemAdvise(const void*, size_t, cudaMemoryAdvise, cudaMemLocation) {
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPrefetchAsync(const void*, size_t, cudaMemLocation, unsigned int, cudaStream_t) {
  return Return(cudaSuccess);
}
