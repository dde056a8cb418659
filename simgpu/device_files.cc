// The driver's device file, for programs that look for a GPU by looking for it: JAX leaves its CUDA backend alone where
// /dev/nvidiactl is missing. While a device is simulated it seems to be there, and nothing else does.
#include <dlfcn.h>
#include <sys/stat.h>

#include <cstring>

#include "simgpu/api.h"
#include "simgpu/machine.h"

namespace {

constexpr char kControlFile[] = "/dev/nvidiactl";
constexpr char kStandIn[] = "/dev/null";  // a character device too

using Stat = int(const char*, struct stat*);

int StatOf(Stat* real, const char* path, struct stat* status) {
  const int result = real(path, status);
  if (result == 0 || path == nullptr || std::strcmp(path, kControlFile) != 0) return result;
  return oomtrace::simgpu::Machine::Get().device_count() > 0 ? real(kStandIn, status) : result;
}

}  // namespace

SIMGPU_API int stat(const char* path, struct stat* status) noexcept {
  static const auto real = reinterpret_cast<Stat*>(dlsym(RTLD_NEXT, "stat"));
  return StatOf(real, path, status);
}

#ifdef __USE_LARGEFILE64
SIMGPU_API int stat64(const char* path, struct stat64* status) noexcept {
  static const auto real = reinterpret_cast<Stat*>(dlsym(RTLD_NEXT, "stat64"));
  return StatOf(real, path, reinterpret_cast<struct stat*>(status));
}
static_assert(sizeof(struct stat) == sizeof(struct stat64), "one layout on 64-bit machines");
#endif
