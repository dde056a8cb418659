// From a driver function's name to its address, as cuGetProcAddress and cudaGetDriverEntryPoint answer it.
#pragma once

#include <cstdint>

namespace oomtrace::simgpu {

// `name` without a version suffix means the newest version there is. nullptr: no such function.
void* FindDriverFunction(const char* name);

// The same for a client of a CUDA version: the first version of a function for clients from before the second, and the
// variant for per-thread default streams with CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM among the flags.
void* FindDriverFunction(const char* name, int version, uint64_t flags);

// A function that this library defines, by its exact name; nullptr: none.
void* FindOwnFunction(const char* name);

}  // namespace oomtrace::simgpu
