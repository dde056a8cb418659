// cuDNN's older API: handles, descriptors, sizes. Computations are in kernels.txt.
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "simgpu/api.h"
#include "simgpu/api/cudnn.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1001;
constexpr size_t kVersion = 91900;  // 9.19.0, what the torch 2.11 wheel is built with

int NewOpaque(void** handle) {
  *handle = reinterpret_cast<void*>(Machine::Get().NewHandle());
  return kSuccess;
}

int Nothing(size_t* bytes) {
  *bytes = 0;
  return kSuccess;
}

std::mutex mutex;
std::map<void*, void*>& StreamsOfHandles() {
  static auto* streams = new std::map<void*, void*>;
  return *streams;
}

}  // namespace

SIMGPU_API size_t cudnnGetVersion() { return kVersion; }
SIMGPU_API size_t cudnnGetCudartVersion() { return CUDART_VERSION; }

SIMGPU_API int cudnnGetProperty(int property, int* value) {
  const int parts[] = {static_cast<int>(kVersion / 10000), static_cast<int>(kVersion / 100 % 100),
                       static_cast<int>(kVersion % 100)};
  *value = property >= 0 && property < 3 ? parts[property] : 0;
  return kSuccess;
}

SIMGPU_API const char* cudnnGetErrorString(int status) {
  return status == kSuccess ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_NOT_SUPPORTED";
}

SIMGPU_API void cudnnGetLastErrorString(char* message, size_t length) {
  if (length > 0) *message = '\0';
}

SIMGPU_API int cudnnCreate(void** handle) {
  return RequireCurrent() == Refusal::kNone ? NewOpaque(handle) : kNotInitialized;
}

SIMGPU_API int cudnnDestroy(void*) { return kSuccess; }

SIMGPU_API int cudnnSetStream(void* handle, void* stream) {
  std::lock_guard lock(mutex);
  StreamsOfHandles()[handle] = stream;
  return kSuccess;
}

void* oomtrace::simgpu::CudnnStream(void* handle) {
  std::lock_guard lock(mutex);
  const auto it = StreamsOfHandles().find(handle);
  return it == StreamsOfHandles().end() ? nullptr : it->second;
}

SIMGPU_API int cudnnGetStream(void* handle, void** stream) {
  *stream = CudnnStream(handle);
  return kSuccess;
}

SIMGPU_API int cudnnCreateActivationDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreateCTCLossDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreateConvolutionDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreateDropoutDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreateFilterDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreatePoolingDescriptor(void** d) { return NewOpaque(d); }
SIMGPU_API int cudnnCreateSpatialTransformerDescriptor(void** d) { return NewOpaque(d); }

SIMGPU_API int cudnnDropoutGetStatesSize(void*, size_t* bytes) {
  // One Philox state of 32 bytes for each of the 2048 x 16 threads that cuDNN's dropout kernels start.
  *bytes = size_t{32} * 2048 * 16;
  return kSuccess;
}

SIMGPU_API int cudnnSetDropoutDescriptor(void*, void*, float, void*, size_t, unsigned long long) { return kSuccess; }

// Batch normalization in NHWC keeps a mask and scratch space on a real card; its size is not documented.
SIMGPU_API int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void*, int, int, void*, void*, void*, void*,
                                                                        void*, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void*, int, int, void*, void*, void*, void*, void*,
                                                                 void*, void*, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*, int, int, void*, void*, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetConvolutionForwardWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetCTCLossWorkspaceSize(void*, void*, void*, const int*, const int*, const int*, int, void*,
                                            size_t* bytes) {
  return Nothing(bytes);
}

SIMGPU_API int cudnnGetCTCLossWorkspaceSize_v8(void*, int, void*, void*, void*, size_t* bytes) {
  return Nothing(bytes);
}
