// Questions to the CUDA runtime that the recorder asks for itself. They call the real functions, leave the thread's
// capture mode and last error as they were, and are only asked where the application has just used the runtime itself.
#pragma once

#include <cstdint>

namespace oomtrace {

// Bytes of the current device. False, and zeros, where the runtime does not say.
bool QueryMemory(uint64_t* free, uint64_t* total);
// Index of the current device; 0 where the runtime does not say.
uint32_t CurrentDevice();

}  // namespace oomtrace
