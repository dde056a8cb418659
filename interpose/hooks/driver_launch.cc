// Launches by the CUDA driver: Triton's kernels, and those of libraries with a runtime of their own (cuBLAS, cuDNN)
// where they are reached (entry_points.cc). They are looked at in a window of the timeline only (launches.h).
#include <cuda.h>

#include "interpose/hooks/launches.h"
#include "interpose/hooks/real.h"

using namespace oomtrace;

namespace {

using Launch = CUresult(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
                        unsigned int, CUstream, void**, void**);
using LaunchEx = CUresult(const CUlaunchConfig*, CUfunction, void**, void**);
using LaunchCooperative = CUresult(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
                                   unsigned int, unsigned int, CUstream, void**);

template <typename Function, typename... Arguments>
[[gnu::noinline]] CUresult LookedAt(HookId id, const void* caller, CUfunction function, LaunchScope::Grid grid,
                                    void** parameters, void** extra, Arguments... arguments) {
  auto* real = Real<Function>(id, caller);
  if (real == nullptr) return CUDA_ERROR_NOT_INITIALIZED;
  const LaunchScope scope(FunctionKind::kDriver, function, grid, parameters, extra);
  return real(arguments...);
}

// Into each hook, which outside windows ends in a jump to the real function.
template <typename Function, typename... Arguments>
[[gnu::always_inline]] inline CUresult Call(HookId id, const void* caller, CUfunction function, LaunchScope::Grid grid,
                                            void** parameters, void** extra, Arguments... arguments) {
  if (void* known = KnownReal(id); known != nullptr && !WindowOpen()) [[likely]]
    return reinterpret_cast<Function*>(known)(arguments...);
  return LookedAt<Function>(id, caller, function, grid, parameters, extra, arguments...);
}

}  // namespace

#define OOMTRACE_LAUNCH(symbol, id)                                                                                    \
  OOMTRACE_HOT_EXPORT CUresult symbol(CUfunction function, unsigned int grid_x, unsigned int grid_y,                   \
                                      unsigned int grid_z, unsigned int block_x, unsigned int block_y,                 \
                                      unsigned int block_z, unsigned int shared_bytes, CUstream stream,                \
                                      void** parameters, void** extra) {                                               \
    return Call<Launch>(HookId::id, __builtin_return_address(0), function, {grid_x, grid_y}, parameters, extra,        \
                        function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, parameters, \
                        extra);                                                                                        \
  }
#define OOMTRACE_LAUNCH_EX(symbol, id)                                                                             \
  OOMTRACE_EXPORT CUresult symbol(const CUlaunchConfig* config, CUfunction function, void** parameters,            \
                                  void** extra) {                                                                  \
    return Call<LaunchEx>(HookId::id, __builtin_return_address(0), function, {config->gridDimX, config->gridDimY}, \
                          parameters, extra, config, function, parameters, extra);                                 \
  }
#define OOMTRACE_LAUNCH_COOPERATIVE(symbol, id)                                                                        \
  OOMTRACE_EXPORT CUresult symbol(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,  \
                                  unsigned int block_x, unsigned int block_y, unsigned int block_z,                    \
                                  unsigned int shared_bytes, CUstream stream, void** parameters) {                     \
    return Call<LaunchCooperative>(HookId::id, __builtin_return_address(0), function, {grid_x, grid_y}, parameters,    \
                                   nullptr, function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, \
                                   stream, parameters);                                                                \
  }

OOMTRACE_LAUNCH(cuLaunchKernel, kCuLaunchKernel)
OOMTRACE_LAUNCH(cuLaunchKernel_ptsz, kCuLaunchKernelPtsz)
OOMTRACE_LAUNCH_EX(cuLaunchKernelEx, kCuLaunchKernelEx)
OOMTRACE_LAUNCH_EX(cuLaunchKernelEx_ptsz, kCuLaunchKernelExPtsz)
OOMTRACE_LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, kCuLaunchCooperativeKernel)
OOMTRACE_LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, kCuLaunchCooperativeKernelPtsz)
