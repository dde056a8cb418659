// Expandable segments: PyTorch asks the runtime for the driver's functions and then creates and maps physical memory
// itself. The driver is asked first, with exactly the caller's arguments; then the answer is exchanged for ours.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstring>

#include "interpose/hooks/cuda_device_calls.h"
#include "interpose/hooks/real.h"
#include "interpose/record/clock.h"

using namespace oomtrace;

namespace {

std::atomic<void*> real_create{nullptr};
std::atomic<void*> real_map{nullptr};
std::atomic<void*> real_unmap{nullptr};

template <typename Function, typename... Arguments>
CUresult Call(const std::atomic<void*>& real, Arguments... arguments) {
  InsideRuntime inside;
  return reinterpret_cast<Function*>(real.load(std::memory_order_acquire))(arguments...);
}

// Physical memory becomes part of a segment when it is mapped: a success is recorded there, where it has an address.
CUresult CUDAAPI Create(CUmemGenericAllocationHandle* handle, size_t bytes, const CUmemAllocationProp* properties,
                        unsigned long long flags) {
  const void* caller = __builtin_return_address(0);
  const CUresult result = Call<decltype(cuMemCreate)>(real_create, handle, bytes, properties, flags);
  if (result != CUDA_SUCCESS)
    RecordDeviceAllocation({"cuMemCreate", caller, 0, bytes, static_cast<int>(result), MemoryQuestion::kAlways});
  return result;
}

CUresult CUDAAPI Map(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                     unsigned long long flags) {
  const void* caller = __builtin_return_address(0);
  const CUresult result = Call<decltype(cuMemMap)>(real_map, address, bytes, offset, handle, flags);
  if (result == CUDA_SUCCESS)
    RecordDeviceAllocation({"cuMemMap", caller, address, bytes, 0, MemoryQuestion::kNowAndThen});
  return result;
}

CUresult CUDAAPI Unmap(CUdeviceptr address, size_t bytes) {
  const void* caller = __builtin_return_address(0);
  const uint64_t ticks = Ticks();
  const CUresult result = Call<decltype(cuMemUnmap)>(real_unmap, address, bytes);
  if (result == CUDA_SUCCESS) RecordDeviceRelease("cuMemUnmap", caller, reinterpret_cast<void*>(address), ticks);
  return result;
}

void* Exchange(std::atomic<void*>& real, void* found, void* ours) {
  if (found != ours) real.store(found, std::memory_order_release);
  return ours;
}

void ExchangeAnswer(const char* symbol, void** function) {
  if (symbol == nullptr || function == nullptr || *function == nullptr) return;
  if (strcmp(symbol, "cuMemCreate") == 0) {
    *function = Exchange(real_create, *function, reinterpret_cast<void*>(Create));
  } else if (strcmp(symbol, "cuMemMap") == 0) {
    *function = Exchange(real_map, *function, reinterpret_cast<void*>(Map));
  } else if (strcmp(symbol, "cuMemUnmap") == 0) {
    *function = Exchange(real_unmap, *function, reinterpret_cast<void*>(Unmap));
  }
}

}  // namespace

OOMTRACE_EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned int version,
                                                             unsigned long long flags,
                                                             cudaDriverEntryPointQueryResult* status) {
  using Function = cudaError_t(const char*, void**, unsigned int, unsigned long long, cudaDriverEntryPointQueryResult*);
  auto* real = Real<Function>(HookId::kGetDriverEntryPointByVersion, __builtin_return_address(0));
  if (real == nullptr) return cudaErrorInitializationError;
  const cudaError_t result = real(symbol, function, version, flags, status);
  if (result == cudaSuccess) ExchangeAnswer(symbol, function);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long flags,
                                                    cudaDriverEntryPointQueryResult* status) {
  using Function = cudaError_t(const char*, void**, unsigned long long, cudaDriverEntryPointQueryResult*);
  auto* real = Real<Function>(HookId::kGetDriverEntryPoint, __builtin_return_address(0));
  if (real == nullptr) return cudaErrorInitializationError;
  const cudaError_t result = real(symbol, function, flags, status);
  if (result == cudaSuccess) ExchangeAnswer(symbol, function);
  return result;
}
