// Launches in a window of the timeline: a number by which CUPTI's records refer to the launch, and the device addresses
// among its parameters, by which the analyzer knows the tensors that it uses.
//
// While no window is open a scope costs one load. Parameters are found by cuFuncGetParamInfo (CUDA 12.4 and newer);
// a pointer may stand anywhere in a structure that is passed by value, so every word of each parameter is looked at.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/hooks/collector.h"

namespace oomtrace {

enum class FunctionKind {
  kSymbol,  // the address of a __global__ function, as the runtime takes it
  kKernel,  // cudaKernel_t, CUkernel
  kDriver,  // CUfunction
};

class LaunchScope {
 public:
  struct Grid {
    uint32_t x = 0;
    uint32_t y = 0;
  };
  // `arguments` and `extra` as the launch function takes them; either may be nullptr.
  LaunchScope(FunctionKind kind, const void* function, Grid grid, void** arguments, void** extra = nullptr) {
    if (WindowOpen()) [[unlikely]]
      BeginKernel(kind, function, grid, arguments, extra);
  }
  // A copy or a fill.
  LaunchScope(const void* to, const void* from) {
    if (WindowOpen()) [[unlikely]]
      BeginCopy(to, from);
  }
  ~LaunchScope() {
    if (open_) [[unlikely]]
      End();
  }
  LaunchScope(const LaunchScope&) = delete;
  LaunchScope& operator=(const LaunchScope&) = delete;

 private:
  void BeginKernel(FunctionKind kind, const void* function, Grid grid, void** arguments, void** extra);
  void BeginCopy(const void* to, const void* from);
  void End();

  bool open_ = false;
  bool pushed_ = false;
};

}  // namespace oomtrace
