// cuRAND's host interface: generators. What they would write to device memory reads as before (kernels.txt).
#include "simgpu/api.h"
#include "simgpu/machine.h"

using namespace oomtrace::simgpu;

SIMGPU_API int curandCreateGenerator(void** generator, int) {
  *generator = reinterpret_cast<void*>(Machine::Get().NewHandle());
  return 0;
}

SIMGPU_API int curandGetVersion(int* version) {
  *version = 10400;  // 10.4.0, of CUDA 13.0
  return 0;
}
