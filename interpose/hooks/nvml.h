// Who else is on a device, as NVML lists it. NVML is loaded on first use and never asked under a lock of CUDA or
// PyTorch.
#pragma once

#include <cstdint>

#include "interpose/record/events.h"

namespace oomtrace {

// Writes a GpuProcesses event for the CUDA device of that index. Nothing where NVML is missing or refuses.
void RecordProcessesOf(ThreadState& thread, uint32_t device);

}  // namespace oomtrace
