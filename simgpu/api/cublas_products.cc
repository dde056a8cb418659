// The products of cuBLAS and cuBLASLt by which PyTorch multiplies matrices: they compute nothing, and their launches
// carry the matrices' addresses. Every other function of the library is in kernels.txt.
//
// Declared here and not through NVIDIA's header: see cublas.cc.
#include <cstddef>
#include <cstdint>

#include "simgpu/api.h"
#include "simgpu/api/cublas.h"
#include "simgpu/library_kernels.h"

using namespace oomtrace::simgpu;

namespace {

int Product(void* handle, const char* name, const void* a, const void* b, const void* c) {
  return LaunchFromLibrary(name, {a, b, c}, reinterpret_cast<uintptr_t>(CublasStream(handle)));
}

}  // namespace

SIMGPU_API int cublasSgemm_v2(void* handle, int, int, int, int, int, const float*, const void* a, int, const void* b,
                              int, const float*, void* c, int) {
  return Product(handle, "cublasSgemm", a, b, c);
}

SIMGPU_API int cublasDgemm_v2(void* handle, int, int, int, int, int, const double*, const void* a, int, const void* b,
                              int, const double*, void* c, int) {
  return Product(handle, "cublasDgemm", a, b, c);
}

SIMGPU_API int cublasSgemmStridedBatched(void* handle, int, int, int, int, int, const float*, const void* a, int,
                                         long long, const void* b, int, long long, const float*, void* c, int,
                                         long long, int) {
  return Product(handle, "cublasSgemmStridedBatched", a, b, c);
}

SIMGPU_API int cublasGemmEx(void* handle, int, int, int, int, int, const void*, const void* a, int, int, const void* b,
                            int, int, const void*, void* c, int, int, int, int) {
  return Product(handle, "cublasGemmEx", a, b, c);
}

SIMGPU_API int cublasGemmStridedBatchedEx(void* handle, int, int, int, int, int, const void*, const void* a, int, int,
                                          long long, const void* b, int, int, long long, const void*, void* c, int, int,
                                          long long, int, int, int) {
  return Product(handle, "cublasGemmStridedBatchedEx", a, b, c);
}

SIMGPU_API int cublasLtMatmul(void*, void*, const void*, const void* a, void*, const void* b, void*, const void*,
                              const void* c, void*, void* d, void*, const void*, void* workspace, size_t,
                              void* stream) {
  return LaunchFromLibrary("cublasLtMatmul", {a, b, c, d, workspace}, reinterpret_cast<uintptr_t>(stream));
}
