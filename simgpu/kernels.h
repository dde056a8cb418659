// The kernels that the application's libraries registered at load, and the architectures each was compiled for.
//
// CUB refuses to run when a kernel's ptxVersion is not one that its library was built for, so the answer must come
// from the fat binary itself. Registration happens tens of thousands of times while libtorch_cuda loads: it only
// notes addresses; fat binaries are read when somebody asks. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "simgpu/control_kernels.h"
#include "simgpu/kernel_parameters.h"

namespace oomtrace::simgpu {

class Kernels {
 public:
  static Kernels& Get();

  // `wrapper` is what nvcc passes to __cudaRegisterFatBinary. The handle lives as long as the process.
  void** AddFatBinary(const void* wrapper);
  bool HasFatBinaries();
  void AddFunction(void** fat_binary, const void* function, const char* name);
  void AddVariable(const void* variable, size_t bytes);

  // The highest architecture in the function's fat binary that is not above `capability` (89 for 8.9); the lowest
  // there is if all are above; `capability` if the function was never registered.
  int ArchitectureOf(const void* function, int capability);

  // Its mangled name, as the fat binary's registration gave it; "" where it was never registered.
  const char* NameOf(const void* function);

  // Of a function, or of a handle that stands for one; nullptr: not known. The first question about a fat binary
  // decompresses it.
  const KernelParameters* ParametersOf(const void* function);

  // What to do when it is launched, nullptr: nothing. See control_kernels.h.
  ControlKernel ControlKernelOf(const void* function);

  // Zeroed memory that stands for a __device__ variable, and its size. nullptr: never registered.
  void* VariableAddress(const void* variable);
  size_t VariableBytes(const void* variable);

 private:
  struct FatBinary {
    const void* wrapper = nullptr;
    std::vector<int> architectures;
    bool read = false;
    bool parameters_read = false;
    ParameterTable parameters;
  };

  std::mutex mutex_;
  std::deque<FatBinary> fat_binaries_;
  struct Function {
    const void* address;
    FatBinary* fat_binary;
    const char* name;
  };
  const Function* FindLocked(const void* function);

  std::vector<Function> functions_;
  bool sorted_ = true;
  std::map<const void*, std::pair<size_t, void*>> variables_;

  // Read at each launch.
  std::shared_mutex control_mutex_;
  std::unordered_map<const void*, ControlKernel> control_;
};

}  // namespace oomtrace::simgpu
