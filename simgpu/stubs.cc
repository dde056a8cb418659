#include <cstdio>

#include "simgpu/api.h"

namespace oomtrace::simgpu {

int NotSimulated(const char* function, const char* library, int error) {
  std::fprintf(stderr,
               "oomtrace simgpu: %s (%s) is not simulated; it returned error %d. What depends on it needs a real GPU: "
               "see docs/simulated-gpu.md.\n",
               function, library, error);
  return error;
}

}  // namespace oomtrace::simgpu
