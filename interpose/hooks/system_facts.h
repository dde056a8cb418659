// What the machine is and who else is on its devices: at the start, and on a slow clock that ticks in hooks.
#pragma once

#include "interpose/record/recorder.h"

namespace oomtrace {

// At the start of the recording: versions, container, and without an interpreter (whose part may do it first) the
// devices, which TickSlowClock tells otherwise. Under any lock of the application.
void WriteSystemFacts(Recorder& recorder);

// What CUDA says of one device: name, size, capability. Once for each device; no context is needed. In a hook, where no
// lock of PyTorch's allocator is held.
void WriteDeviceOnce(Recorder& recorder, uint32_t device);

// At most every ten seconds: the current device's free bytes, the processes on it, libraries that bind past the hooks.
// In a hook, where no lock of PyTorch's allocator is held. Costs one reading of the coarse clock otherwise.
void TickSlowClock();

}  // namespace oomtrace
