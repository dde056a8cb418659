// What cuDNN enqueues for PyTorch's convolutions and batch normalization: it computes nothing, and its launches carry
// the tensors' addresses. The library's other computations are in kernels.txt.
//
// Declared here and not through NVIDIA's headers: see cudnn_backend.cc.
#include <cstddef>
#include <cstdint>

#include "simgpu/api.h"
#include "simgpu/api/cudnn.h"
#include "simgpu/library_kernels.h"

using namespace oomtrace::simgpu;

namespace {

int Enqueue(void* handle, const char* name, std::initializer_list<const void*> pointers) {
  return LaunchFromLibrary(name, pointers, reinterpret_cast<uintptr_t>(CudnnStream(handle)));
}

}  // namespace

SIMGPU_API int cudnnBackendExecute(void* handle, void*, void* variant_pack) {
  const void* of[8] = {};
  CudnnPointers(variant_pack, of, 8);
  return Enqueue(handle, "cudnnBackendExecute", {of[0], of[1], of[2], of[3], of[4], of[5], of[6], of[7]});
}

SIMGPU_API int cudnnConvolutionForward(void* handle, const void*, void*, const void* x, void*, const void* w, void*,
                                       int, void* workspace, size_t, const void*, void*, void* y) {
  return Enqueue(handle, "cudnnConvolutionForward", {x, w, workspace, y});
}

SIMGPU_API int cudnnConvolutionBackwardData(void* handle, const void*, void*, const void* w, void*, const void* dy,
                                            void*, int, void* workspace, size_t, const void*, void*, void* dx) {
  return Enqueue(handle, "cudnnConvolutionBackwardData", {w, dy, workspace, dx});
}

SIMGPU_API int cudnnConvolutionBackwardFilter(void* handle, const void*, void*, const void* x, void*, const void* dy,
                                              void*, int, void* workspace, size_t, const void*, void*, void* dw) {
  return Enqueue(handle, "cudnnConvolutionBackwardFilter", {x, dy, workspace, dw});
}

SIMGPU_API int cudnnBatchNormalizationForwardTrainingEx(void* handle, int, int, const void*, const void*, void*,
                                                        const void* x, void*, const void* z, void*, void* y, void*,
                                                        const void* scale, const void* bias, double, void* running_mean,
                                                        void* running_variance, double, void* mean, void* deviation,
                                                        void*, void* workspace, size_t, void* reserve, size_t) {
  return Enqueue(handle, "cudnnBatchNormalizationForwardTrainingEx",
                 {x, z, y, scale, bias, running_mean, running_variance, mean, deviation, workspace, reserve});
}

SIMGPU_API int cudnnBatchNormalizationForwardInference(void* handle, int, const void*, const void*, void*,
                                                       const void* x, void*, void* y, void*, const void* scale,
                                                       const void* bias, const void* mean, const void* variance,
                                                       double) {
  return Enqueue(handle, "cudnnBatchNormalizationForwardInference", {x, y, scale, bias, mean, variance});
}

SIMGPU_API int cudnnBatchNormalizationBackwardEx(void* handle, int, int, const void*, const void*, const void*,
                                                 const void*, void*, const void* x, void*, const void* y, void*,
                                                 const void* dy, void*, void* dz, void*, void* dx, void*,
                                                 const void* scale, const void*, void* d_scale, void* d_bias, double,
                                                 const void* mean, const void* deviation, void*, void*, size_t,
                                                 void* reserve, size_t) {
  return Enqueue(handle, "cudnnBatchNormalizationBackwardEx",
                 {x, y, dy, dz, dx, scale, d_scale, d_bias, mean, deviation, reserve});
}
