// Memory at an address of this process that is booked elsewhere: of another process, of another interface.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace::simgpu {

// 0: no address space.
uintptr_t AddUnbooked(size_t bytes, int device);
// False: not from AddUnbooked.
bool FreeUnbooked(uintptr_t address);

}  // namespace oomtrace::simgpu
