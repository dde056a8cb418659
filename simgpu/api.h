// For the files that define NVIDIA's functions.
#pragma once

// An exported function with the library's own name. Unversioned on purpose: a definition without a version satisfies
// every versioned reference (cudaMalloc@libcudart.so.13).
#define SIMGPU_API extern "C" __attribute__((visibility("default")))

namespace oomtrace::simgpu {

// Says once per call site (the caller keeps the count) that a function is not simulated, and returns `error`.
int NotSimulated(const char* function, const char* library, int error);

}  // namespace oomtrace::simgpu
