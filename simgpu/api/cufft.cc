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

SIMGPU_API int cufftMakePlan1d(int, int, int, int, size_t* work_bytes) {
  *work_bytes = 0;
  return 0;
}

SIMGPU_API int cufftMakePlanMany(int, int, int*, int*, int, int, int*, int, int, int, int, size_t* work_bytes) {
  *work_bytes = 0;
  return 0;
}

SIMGPU_API int cufftGetVersion(int* version) {
  *version = 12000;  // 12.0.0, of CUDA 13.0
  return 0;
}
