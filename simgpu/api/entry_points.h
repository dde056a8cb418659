// From a driver function's name to its address, as cuGetProcAddress and cudaGetDriverEntryPoint answer it.
#pragma once

namespace oomtrace::simgpu {

// `name` without a version suffix means the newest version there is. nullptr: no such function.
void* FindDriverFunction(const char* name);

// A function that this library defines, by its exact name; nullptr: none.
void* FindOwnFunction(const char* name);

}  // namespace oomtrace::simgpu
