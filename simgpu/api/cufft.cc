// cuFFT: plans. Execution is in kernels.txt.
#include <cstddef>

#include "simgpu/api.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

SIMGPU_API int cufftCreate(int* plan) {
  *plan = static_cast<int>(Machine::Get().NewHandle());
  return 0;
}

// No work area: the algorithm that cuFFT would choose, and so its scratch space, is not known.
SIMGPU_API int cufftXtMakePlanMany(int, int, long long*, long long*, long long, long long, int, long long*, long long,
                                   long long, int, long long, size_t* work_bytes, int) {
  *work_bytes = 0;
  return 0;
}
