// Functions that cannot report "not supported" as an int, which is what the generated stubs return.
#include <sys/types.h>

#include <cstddef>

#include "simgpu/api.h"

using oomtrace::simgpu::NotSimulated;

namespace {

constexpr char kNvshmem[] = "libnvshmem_host.so.3";
constexpr char kCufile[] = "libcufile.so.0";

}  // namespace

SIMGPU_API void* nvshmem_malloc(size_t) {
  NotSimulated("nvshmem_malloc", kNvshmem, 0);
  return nullptr;
}

SIMGPU_API void* nvshmem_ptr(const void*, int) {
  NotSimulated("nvshmem_ptr", kNvshmem, 0);
  return nullptr;
}

SIMGPU_API void* nvshmemx_mc_ptr(int, const void*) {
  NotSimulated("nvshmemx_mc_ptr", kNvshmem, 0);
  return nullptr;
}

SIMGPU_API ssize_t cuFileRead(void*, void*, size_t, off_t, off_t) { return NotSimulated("cuFileRead", kCufile, -1); }
SIMGPU_API ssize_t cuFileWrite(void*, const void*, size_t, off_t, off_t) {
  return NotSimulated("cuFileWrite", kCufile, -1);
}
