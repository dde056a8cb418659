// Device memory asked of the CUDA runtime. The real function always runs, and its answer is the caller's answer; what
// it wrote is read only after success.
#include <cuda_runtime_api.h>

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/cuda_device_calls.h"
#include "interpose/hooks/real.h"
#include "interpose/python/python_part.h"

using namespace oomtrace;

namespace {

constexpr cudaError_t kNoRuntime = cudaErrorInitializationError;

// The real call. What the runtime does inside it by calling its own functions is not recorded a second time.
template <typename Function, typename... Arguments>
cudaError_t Call(HookId id, const void* caller, Arguments... arguments) {
  auto* real = Real<Function>(id, caller);
  if (real == nullptr) return kNoRuntime;
  InsideRuntime inside;
  return real(arguments...);
}

cudaError_t Allocated(const char* api, const void* caller, void** pointer, size_t bytes, cudaError_t result,
                      MemoryQuestion question) {
  const uint64_t address = result == cudaSuccess && pointer != nullptr ? reinterpret_cast<uint64_t>(*pointer) : 0;
  RecordDeviceAllocation({api, caller, address, bytes, result, question});
  return result;
}

}  // namespace

OOMTRACE_EXPORT cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result = Call<decltype(cudaMalloc)>(HookId::kMalloc, caller, pointer, bytes);
  return Allocated("cudaMalloc", caller, pointer, bytes, result, MemoryQuestion::kAlways);
}

OOMTRACE_EXPORT cudaError_t cudaMallocManaged(void** pointer, size_t bytes, unsigned int flags) {
  const void* caller = __builtin_return_address(0);
  using Function = cudaError_t(void**, size_t, unsigned int);
  const cudaError_t result = Call<Function>(HookId::kMallocManaged, caller, pointer, bytes, flags);
  return Allocated("cudaMallocManaged", caller, pointer, bytes, result, MemoryQuestion::kAlways);
}

OOMTRACE_EXPORT cudaError_t cudaMallocPitch(void** pointer, size_t* pitch, size_t width, size_t height) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result =
      Call<decltype(cudaMallocPitch)>(HookId::kMallocPitch, caller, pointer, pitch, width, height);
  const size_t row = result == cudaSuccess && pitch != nullptr ? *pitch : width;
  return Allocated("cudaMallocPitch", caller, pointer, row * height, result, MemoryQuestion::kAlways);
}

using MallocAsync = cudaError_t(void**, size_t, cudaStream_t);
using MallocFromPool = cudaError_t(void**, size_t, cudaMemPool_t, cudaStream_t);

OOMTRACE_EXPORT cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result = Call<MallocAsync>(HookId::kMallocAsync, caller, pointer, bytes, stream);
  return Allocated("cudaMallocAsync", caller, pointer, bytes, result, MemoryQuestion::kNowAndThen);
}

OOMTRACE_EXPORT cudaError_t cudaMallocAsync_ptsz(void** pointer, size_t bytes, cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result = Call<MallocAsync>(HookId::kMallocAsyncPtsz, caller, pointer, bytes, stream);
  return Allocated("cudaMallocAsync", caller, pointer, bytes, result, MemoryQuestion::kNowAndThen);
}

OOMTRACE_EXPORT cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t pool,
                                                    cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result = Call<MallocFromPool>(HookId::kMallocFromPoolAsync, caller, pointer, bytes, pool, stream);
  return Allocated("cudaMallocFromPoolAsync", caller, pointer, bytes, result, MemoryQuestion::kNowAndThen);
}

OOMTRACE_EXPORT cudaError_t cudaMallocFromPoolAsync_ptsz(void** pointer, size_t bytes, cudaMemPool_t pool,
                                                         cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result =
      Call<MallocFromPool>(HookId::kMallocFromPoolAsyncPtsz, caller, pointer, bytes, pool, stream);
  return Allocated("cudaMallocFromPoolAsync", caller, pointer, bytes, result, MemoryQuestion::kNowAndThen);
}

// Frees: the time is taken before the call, since afterwards another thread may be given the same address.
OOMTRACE_EXPORT cudaError_t cudaFree(void* pointer) {
  const void* caller = __builtin_return_address(0);
  const uint64_t ticks = Ticks();
  const cudaError_t result = Call<decltype(cudaFree)>(HookId::kFree, caller, pointer);
  // cudaFree(nullptr) is how programs make a context; after a failed call the memory is still there.
  if (pointer != nullptr && result == cudaSuccess) RecordDeviceRelease("cudaFree", caller, pointer, ticks);
  return result;
}

using FreeAsync = cudaError_t(void*, cudaStream_t);

OOMTRACE_EXPORT cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const uint64_t ticks = Ticks();
  const cudaError_t result = Call<FreeAsync>(HookId::kFreeAsync, caller, pointer, stream);
  if (pointer != nullptr && result == cudaSuccess) RecordDeviceRelease("cudaFreeAsync", caller, pointer, ticks);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaFreeAsync_ptsz(void* pointer, cudaStream_t stream) {
  const void* caller = __builtin_return_address(0);
  const uint64_t ticks = Ticks();
  const cudaError_t result = Call<FreeAsync>(HookId::kFreeAsyncPtsz, caller, pointer, stream);
  if (pointer != nullptr && result == cudaSuccess) RecordDeviceRelease("cudaFreeAsync", caller, pointer, ticks);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const void* caller = __builtin_return_address(0);
  const cudaError_t result = Call<decltype(cudaMemGetInfo)>(HookId::kMemGetInfo, caller, free, total);
  if (result == cudaSuccess && free != nullptr && total != nullptr) RecordMemoryAnswer(*free, *total);
  return result;
}

// What a pool gives back shows in the device's free bytes only.
OOMTRACE_EXPORT cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep) {
  const cudaError_t result =
      Call<decltype(cudaMemPoolTrimTo)>(HookId::kMemPoolTrimTo, __builtin_return_address(0), pool, keep);
  RecordMemoryNow();
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  const cudaError_t result =
      Call<decltype(cudaMemPoolDestroy)>(HookId::kMemPoolDestroy, __builtin_return_address(0), pool);
  RecordMemoryNow();
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t result =
      Call<decltype(cudaMemcpy)>(HookId::kMemcpy, __builtin_return_address(0), to, from, bytes, kind);
  if (kind == cudaMemcpyHostToDevice && result == cudaSuccess) RecordCopyFromHost(to, bytes);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                            cudaStream_t stream) {
  using Function = cudaError_t(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
  const cudaError_t result =
      Call<Function>(HookId::kMemcpyAsync, __builtin_return_address(0), to, from, bytes, kind, stream);
  if (kind == cudaMemcpyHostToDevice && result == cudaSuccess) RecordCopyFromHost(to, bytes);
  return result;
}

// The first thing that PyTorch asks: an early moment, with no lock held, to prepare for what follows.
OOMTRACE_EXPORT cudaError_t cudaGetDeviceCount(int* count) {
  const cudaError_t result =
      Call<decltype(cudaGetDeviceCount)>(HookId::kGetDeviceCount, __builtin_return_address(0), count);
  if (result == cudaSuccess) RequestPythonPart(PythonTask::kInstall);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaSetDevice(int device) {
  const cudaError_t result = Call<decltype(cudaSetDevice)>(HookId::kSetDevice, __builtin_return_address(0), device);
  if (result == cudaSuccess) RequestPythonPart(PythonTask::kInstall);
  return result;
}
