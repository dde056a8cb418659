// Shared by the files that define the CUDA driver.
#pragma once

#include <cuda.h>

#include "simgpu/api.h"
#include "simgpu/machine.h"

namespace oomtrace::simgpu {

inline CUresult Driver(Refusal refusal) { return static_cast<CUresult>(refusal); }

// A runtime call's answer: the two enumerations agree on every number that the simulated runtime returns.
inline CUresult Driver(int runtime_error) { return static_cast<CUresult>(runtime_error); }

inline void* Pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

// Of a device's primary context: its number, shifted away from 0.
CUcontext ContextOf(int device);
// The device of a primary context, or of one that cuCtxCreate made. -1: not a context.
int DeviceOf(CUcontext context);

}  // namespace oomtrace::simgpu

#define SIMGPU_REQUIRE_DRIVER_CONTEXT()                                                                     \
  if (const ::oomtrace::simgpu::Refusal refusal =                                                           \
          ::oomtrace::simgpu::Machine::Get().RequireContext(::oomtrace::simgpu::Machine::current_device()); \
      refusal != ::oomtrace::simgpu::Refusal::kNone)                                                        \
  return ::oomtrace::simgpu::Driver(refusal)
