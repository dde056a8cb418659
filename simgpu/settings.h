// What the environment says the simulated machine is. Read once, at the first CUDA call.
//
//   OOMTRACE_SIM_GPU       a card's name or a capacity such as 12GiB; unset or empty: there is no device
//   OOMTRACE_SIM_CAPACITY  total memory, instead of the card's own
//   OOMTRACE_SIM_OTHER     held by other processes
//   OOMTRACE_SIM_CONTEXT   taken by this process's CUDA context
//   OOMTRACE_SIM_DEVICES   number of devices, all alike
//   CUDA_VISIBLE_DEVICES   as for real devices: "2,3" shows two of them, in that order, "" none
//   OOMTRACE_SIM_LOG       1: calls that change memory, and every call not simulated, go to stderr
//
// Sizes are bytes, or carry a unit ("1.97GiB").
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "simgpu/devices.h"
#include "simgpu/memory.h"

namespace oomtrace::simgpu {

struct Settings {
  std::optional<GpuModel> gpu;  // std::nullopt: no device
  DeviceMemory::Config memory;
  int devices = 0;           // in the machine; NVML counts these
  std::vector<int> visible;  // those that CUDA shows, by their number in the machine
  bool log = false;
  std::string error;  // what is wrong with the environment; then there is no device
};

inline constexpr int kMaxDevices = 16;

// `get` answers like getenv().
Settings ReadSettings(const char* (*get)(const char* name));

}  // namespace oomtrace::simgpu
