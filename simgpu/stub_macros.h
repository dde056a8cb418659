// The generated stub files consist of these two lines, one per imported function. Both are weak: a real definition in
// this library wins over its stub.
#pragma once

#include <atomic>

#include "simgpu/api.h"
#include "simgpu/library_kernels.h"

// Fails, and says so once.
#define SIMGPU_STUB(function, library, error)                           \
  SIMGPU_API __attribute__((weak)) int function() {                     \
    static std::atomic_flag said = ATOMIC_FLAG_INIT;                    \
    if (said.test_and_set()) return error;                              \
    return ::oomtrace::simgpu::NotSimulated(#function, library, error); \
  }

// Succeeds without doing anything: the function only enqueues work that reads and writes device memory.
#define SIMGPU_KERNEL(function) \
  SIMGPU_API __attribute__((weak)) int function() { return ::oomtrace::simgpu::EnqueueUnknown(#function); }
