// Launches by the CUDA runtime, and fills. They are looked at in a window of the timeline only (launches.h).
#include <cuda_runtime_api.h>

#include "interpose/hooks/launches.h"
#include "interpose/hooks/real.h"

using namespace oomtrace;

namespace {

constexpr cudaError_t kNoRuntime = cudaErrorInitializationError;

using Launch = cudaError_t(const void*, dim3, dim3, void**, size_t, cudaStream_t);
using LaunchEx = cudaError_t(const cudaLaunchConfig_t*, const void*, void**);

[[gnu::noinline]] cudaError_t LookedAt(HookId id, FunctionKind kind, const void* caller, const void* function,
                                       dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                                       cudaStream_t stream) {
  auto* real = Real<Launch>(id, caller);
  if (real == nullptr) return kNoRuntime;
  const LaunchScope scope(kind, function, {grid.x, grid.y}, arguments);
  return real(function, grid, block, arguments, shared_bytes, stream);
}

// Into each hook, which outside windows ends in a jump to the real function.
[[gnu::always_inline]] inline cudaError_t CallLaunch(HookId id, FunctionKind kind, const void* caller,
                                                     const void* function, dim3 grid, dim3 block, void** arguments,
                                                     size_t shared_bytes, cudaStream_t stream) {
  if (void* known = KnownReal(id); known != nullptr && !WindowOpen()) [[likely]]
    return reinterpret_cast<Launch*>(known)(function, grid, block, arguments, shared_bytes, stream);
  return LookedAt(id, kind, caller, function, grid, block, arguments, shared_bytes, stream);
}

cudaError_t CallLaunchEx(HookId id, const void* caller, const cudaLaunchConfig_t* config, const void* function,
                         void** arguments) {
  auto* real = Real<LaunchEx>(id, caller);
  if (real == nullptr) return kNoRuntime;
  const LaunchScope scope(FunctionKind::kSymbol, function, {config->gridDim.x, config->gridDim.y}, arguments);
  return real(config, function, arguments);
}

}  // namespace

OOMTRACE_HOT_EXPORT cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                                 size_t shared_bytes, cudaStream_t stream) {
  return CallLaunch(HookId::kLaunchKernel, FunctionKind::kSymbol, __builtin_return_address(0), function, grid, block,
                    arguments, shared_bytes, stream);
}

OOMTRACE_EXPORT cudaError_t cudaLaunchKernel_ptsz(const void* function, dim3 grid, dim3 block, void** arguments,
                                                  size_t shared_bytes, cudaStream_t stream) {
  return CallLaunch(HookId::kLaunchKernelPtsz, FunctionKind::kSymbol, __builtin_return_address(0), function, grid,
                    block, arguments, shared_bytes, stream);
}

// What code compiled by nvcc 13 calls, with a handle instead of the function's address.
OOMTRACE_HOT_EXPORT cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                                   size_t shared_bytes, cudaStream_t stream) {
  return CallLaunch(HookId::kLaunchKernelHandle, FunctionKind::kKernel, __builtin_return_address(0), kernel, grid,
                    block, arguments, shared_bytes, stream);
}

OOMTRACE_EXPORT cudaError_t __cudaLaunchKernel_ptsz(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                                    size_t shared_bytes, cudaStream_t stream) {
  return CallLaunch(HookId::kLaunchKernelHandlePtsz, FunctionKind::kKernel, __builtin_return_address(0), kernel, grid,
                    block, arguments, shared_bytes, stream);
}

OOMTRACE_EXPORT cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                                        size_t shared_bytes, cudaStream_t stream) {
  return CallLaunch(HookId::kLaunchCooperativeKernel, FunctionKind::kSymbol, __builtin_return_address(0), function,
                    grid, block, arguments, shared_bytes, stream);
}

OOMTRACE_EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                                void** arguments) {
  return CallLaunchEx(HookId::kLaunchKernelEx, __builtin_return_address(0), config, function, arguments);
}

OOMTRACE_EXPORT cudaError_t cudaLaunchKernelExC_ptsz(const cudaLaunchConfig_t* config, const void* function,
                                                     void** arguments) {
  return CallLaunchEx(HookId::kLaunchKernelExPtsz, __builtin_return_address(0), config, function, arguments);
}

OOMTRACE_EXPORT cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  using Fill = cudaError_t(void*, int, size_t, cudaStream_t);
  auto* real = Real<Fill>(HookId::kMemsetAsync, __builtin_return_address(0));
  if (real == nullptr) return kNoRuntime;
  const LaunchScope scope(to, nullptr);
  return real(to, value, bytes, stream);
}
