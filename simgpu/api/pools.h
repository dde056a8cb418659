// The pools behind cudaMallocAsync and cuMemAllocAsync, one default pool for each device and any number of others.
#pragma once

#include <cstdint>
#include <optional>

#include "simgpu/memory_pool.h"

namespace oomtrace::simgpu {

MemoryPool& DefaultPool(int device);
// The pool that cudaMallocAsync uses (cudaDeviceSetMemPool).
MemoryPool& CurrentPool(int device);
// False: the address is in no pool.
bool FreeToPool(uintptr_t address);
// Idle memory above the release thresholds goes back to the devices: a synchronization.
void SettlePools();

}  // namespace oomtrace::simgpu
