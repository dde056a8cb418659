// The exception to "kernels write nothing": the few kernels by which programs steer loops from the device.
//
// `while unfinished.max() != 0` would never end if nothing on the device were ever computed, and a generation that
// never ends fills any card. So fills, logic, comparisons and full reductions over a few integers or booleans are
// carried out when PyTorch launches them, on at most kLargestControlTensor elements. Recognized by their mangled name;
// what is not recognized, or not laid out as expected, does nothing, as every other kernel.
#pragma once

#include <cstdint>

namespace oomtrace::simgpu {

inline constexpr int64_t kLargestControlTensor = 4096;

// Takes the launch's argument pointers.
using ControlKernel = void (*)(void** arguments);

// nullptr: not one of them. `name` is the mangled name of the kernel.
ControlKernel FindControlKernel(const char* name);

}  // namespace oomtrace::simgpu
