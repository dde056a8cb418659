// Work that NVIDIA's libraries enqueue by themselves. As the real ones, they are linked with a CUDA runtime of their
// own, which asks libcuda.so.1 for the driver's functions by name: whoever stands in front of the application's calls
// sees their launches only if it stands in front of that, too.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace oomtrace::simgpu {

// A kernel of that name with these pointers as parameters. Returns 0, as every library's success.
int LaunchFromLibrary(const char* name, std::initializer_list<const void*> pointers, uintptr_t stream);

// For functions of which nothing is known but their names (kernels.txt): a kernel without parameters, to be seen by a
// profiler alone; none for those that only set up a handle or a descriptor.
int EnqueueUnknown(const char* function);

}  // namespace oomtrace::simgpu
