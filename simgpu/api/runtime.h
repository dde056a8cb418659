// Shared by the files that define the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include "simgpu/api.h"
#include "simgpu/machine.h"

// The wheel's cudaDeviceProp and signatures are those of CUDA 13; CUDA 12 lays them out differently.
static_assert(CUDART_VERSION >= 13000, "the simulated GPU needs the headers of CUDA 13 (make setup fetches them)");

namespace oomtrace::simgpu {

// Notes `error` as this thread's last error, as every runtime call does, and returns it.
cudaError_t Return(cudaError_t error);
inline cudaError_t Return(Refusal refusal) { return Return(static_cast<cudaError_t>(refusal)); }

// The context of the thread's current device, created at need.
inline Refusal RequireCurrent() { return Machine::Get().RequireContext(Machine::current_device()); }

// Copies by where the addresses lie, not by what the caller calls them. Anything but a copy between two host ranges
// follows the data rule (contents.h).
void CopyBytes(void* to, const void* from, size_t bytes);
void FillBytes(void* to, int value, size_t bytes);

// The two enumerations of device attributes share their numbers.
cudaError_t DeviceAttribute(int* value, int attribute, int device);

}  // namespace oomtrace::simgpu

// Leaves the calling function with the refusal's number if there is one.
#define SIMGPU_REQUIRE_CONTEXT()                                                        \
  if (const ::oomtrace::simgpu::Refusal refusal = ::oomtrace::simgpu::RequireCurrent(); \
      refusal != ::oomtrace::simgpu::Refusal::kNone)                                    \
  return ::oomtrace::simgpu::Return(refusal)
