// Kernels of modules that are loaded at run time (Triton, NVRTC, extensions): their names and parameters, read from the
// image when it is loaded, since the caller may throw it away then. Handles of modules and functions are numbers.
// Thread-safe; names live as long as the process.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "simgpu/kernel_parameters.h"

namespace oomtrace::simgpu {

class LoadedKernels {
 public:
  static LoadedKernels& Get();

  // A module's handle. `image`: an ELF image, or something else (PTX, a fat binary, nullptr) of which nothing is read.
  uintptr_t Load(const void* image);
  // The same handle for the same name.
  uintptr_t Function(uintptr_t module, const char* name);
  // The handle of a library's own kernel that takes `pointers` pointers. `name` has static storage.
  uintptr_t BuiltIn(const char* name, size_t pointers);
  // "" where the handle is no function of a module.
  const char* NameOf(uintptr_t function);
  // nullptr: not known.
  const KernelParameters* ParametersOf(uintptr_t function);

 private:
  struct Loaded {
    std::string name;
    const KernelParameters* parameters;
  };

  std::mutex mutex_;
  std::map<uintptr_t, ParameterTable> modules_;
  std::map<std::pair<uintptr_t, std::string>, uintptr_t> handles_;
  std::map<uintptr_t, Loaded> functions_;
  std::map<std::pair<const char*, size_t>, uintptr_t> built_in_;
};

}  // namespace oomtrace::simgpu
