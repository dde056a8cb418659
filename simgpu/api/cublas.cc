// cuBLAS and cuBLASLt: what tells the host anything. The rest enqueues work on device memory (kernels.txt).
//
// Declared here and not through NVIDIA's header, which comes with a 500 MB wheel: enumerations are passed as int,
// opaque handles as void*.
#include "simgpu/api/cublas.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

#include "simgpu/api.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1;
constexpr int kAllocationFailed = 3;
constexpr int kLtVersion = 130100;  // 13.1.0, what the torch 2.11 wheel is built with

struct Modes {
  int pointer = 0;  // CUBLAS_POINTER_MODE_HOST
  int math = 0;     // CUBLAS_DEFAULT_MATH
  void* stream = nullptr;
};

std::mutex mutex;
std::map<uintptr_t, Modes>& Handles() {
  static auto* handles = new std::map<uintptr_t, Modes>;
  return *handles;
}

int NewOpaque(void** handle) {
  const Refusal refusal = RequireCurrent();
  if (refusal != Refusal::kNone) return refusal == Refusal::kOutOfMemory ? kAllocationFailed : kNotInitialized;
  *handle = reinterpret_cast<void*>(Machine::Get().NewHandle());
  return kSuccess;
}

Modes& ModesOf(void* handle) { return Handles()[reinterpret_cast<uintptr_t>(handle)]; }

struct HeuristicResult {  // cublasLtMatmulHeuristicResult_t
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(HeuristicResult) == 96);

}  // namespace

namespace oomtrace::simgpu {

void* CublasStream(void* handle) {
  std::lock_guard lock(mutex);
  return ModesOf(handle).stream;
}

}  // namespace oomtrace::simgpu

SIMGPU_API int cublasCreate_v2(void** handle) { return NewOpaque(handle); }

SIMGPU_API int cublasSetStream_v2(void* handle, void* stream) {
  std::lock_guard lock(mutex);
  ModesOf(handle).stream = stream;
  return kSuccess;
}

SIMGPU_API int cublasGetPointerMode_v2(void* handle, int* mode) {
  std::lock_guard lock(mutex);
  *mode = ModesOf(handle).pointer;
  return kSuccess;
}

SIMGPU_API int cublasSetPointerMode_v2(void* handle, int mode) {
  std::lock_guard lock(mutex);
  ModesOf(handle).pointer = mode;
  return kSuccess;
}

SIMGPU_API int cublasGetMathMode(void* handle, int* mode) {
  std::lock_guard lock(mutex);
  *mode = ModesOf(handle).math;
  return kSuccess;
}

SIMGPU_API int cublasSetMathMode(void* handle, int mode) {
  std::lock_guard lock(mutex);
  ModesOf(handle).math = mode;
  return kSuccess;
}

SIMGPU_API size_t cublasLtGetVersion() { return kLtVersion; }
SIMGPU_API int cublasLtCreate(void** handle) { return NewOpaque(handle); }
SIMGPU_API int cublasLtDestroy(void*) { return kSuccess; }

// One algorithm for everything, which needs no workspace of its own.
SIMGPU_API int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int requested,
                                              HeuristicResult* results, int* returned) {
  *returned = requested > 0 ? 1 : 0;
  if (requested > 0) std::memset(results, 0, sizeof *results);
  return kSuccess;
}

SIMGPU_API int cublasGetStream_v2(void*, void** stream) {
  *stream = nullptr;  // asked for only to put it back
  return 0;
}

SIMGPU_API int cublasGetVersion_v2(void*, int* version) {
  *version = 130002;  // 13.0.2, of CUDA 13.0
  return 0;
}

SIMGPU_API const char* cublasGetStatusName(int status) {
  return status == kSuccess ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_NOT_SUPPORTED";
}
SIMGPU_API const char* cublasGetStatusString(int status) {
  return status == kSuccess ? "success" : "not supported by the simulated GPU";
}
SIMGPU_API const char* cublasLtGetStatusName(int status) { return cublasGetStatusName(status); }
SIMGPU_API const char* cublasLtGetStatusString(int status) { return cublasGetStatusString(status); }
