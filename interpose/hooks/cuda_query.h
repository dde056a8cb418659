// Questions to CUDA that the recorder asks for itself: of the driver where it is there, else of the runtime. They call
// the real functions, leave the thread's capture mode and last error as they were, make no context, and are only asked
// where the application has just used CUDA itself.
#pragma once

#include <cstdint>

namespace oomtrace {

// Bytes of the current device. False, and zeros, where CUDA does not say.
bool QueryMemory(uint64_t* free, uint64_t* total);
// Index of the current device; 0 where CUDA does not say.
uint32_t CurrentDevice();
// The thread's CUcontext, 0: none.
uint64_t CurrentContext();
inline bool HasCurrentContext() { return CurrentContext() != 0; }
// As the driver and the runtime number themselves (13000), 0 where they do not say.
uint32_t DriverVersion();
uint32_t RuntimeVersion();

// Devices that the process may use, 0 where the driver does not say.
uint32_t DeviceCount();

struct DeviceFacts {
  char name[256];
  uint64_t total;
  uint32_t capability_major, capability_minor, multiprocessors;
};
bool QueryDevice(uint32_t device, DeviceFacts* facts);

}  // namespace oomtrace
