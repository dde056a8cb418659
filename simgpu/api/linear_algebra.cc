// cuSOLVER and cuSPARSE: handles and sizes of scratch space. Computations are in kernels.txt; what they would leave in
// device memory reads as zeros, their status ("0: success") included.
//
// Only the position of the answer matters here, so every argument before it is declared as one machine word, which is
// how the x86-64 and AArch64 calling conventions pass integers, enumerations and pointers alike. How much scratch space
// the real libraries ask for is not documented: none here.
#include <cstddef>
#include <cstdint>

#include "simgpu/api.h"
#include "simgpu/machine.h"

using namespace oomtrace::simgpu;

namespace {

using W = uintptr_t;

int Give(void** handle) {
  *handle = reinterpret_cast<void*>(Machine::Get().NewHandle());
  return 0;
}

int Zero(int* size) {
  *size = 0;
  return 0;
}

int Zero(size_t* bytes) {
  *bytes = 0;
  return 0;
}

int Zero(size_t* device_bytes, size_t* host_bytes) {
  *device_bytes = *host_bytes = 0;
  return 0;
}

// Nobody asks which stream a handle uses but to put the same one back.
int NoStream(void** stream) {
  *stream = nullptr;
  return 0;
}

// `property` is a libraryPropertyType: one of the version's three numbers. 3 is both libraries' "invalid value".
int VersionPart(const int (&version)[3], int property, int* value) {
  if (property < 0 || property > 2) return 3;
  *value = version[property];
  return 0;
}

}  // namespace

#define HANDLE(name) \
  SIMGPU_API int name(void** handle) { return Give(handle); }
// int* lwork after 3, 4, 5, 7, 11, 12 or 16 other arguments.
#define SIZE_AFTER_3(name) \
  SIMGPU_API int name(W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_4(name) \
  SIMGPU_API int name(W, W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_5(name) \
  SIMGPU_API int name(W, W, W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_7(name) \
  SIMGPU_API int name(W, W, W, W, W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_11(name) \
  SIMGPU_API int name(W, W, W, W, W, W, W, W, W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_12(name) \
  SIMGPU_API int name(W, W, W, W, W, W, W, W, W, W, W, W, int* size) { return Zero(size); }
#define SIZE_AFTER_16(name) \
  SIMGPU_API int name(W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, int* size) { return Zero(size); }
#define FOR_EACH_TYPE(macro, before, after) \
  macro(before##S##after) macro(before##D##after) macro(before##C##after) macro(before##Z##after)
#define FOR_REAL(macro, before, after) macro(before##S##after) macro(before##D##after)
#define FOR_COMPLEX(macro, before, after) macro(before##C##after) macro(before##Z##after)

HANDLE(cusolverDnCreate)
HANDLE(cusolverDnCreateParams)
HANDLE(cusolverDnCreateGesvdjInfo)
HANDLE(cusolverDnCreateSyevjInfo)
HANDLE(cusolverSpCreate)
FOR_EACH_TYPE(SIZE_AFTER_5, cusolverDn, geqrf_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_5, cusolverDn, getrf_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_5, cusolverDn, potrf_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_4, cusolverDn, sytrf_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_3, cusolverDn, gesvd_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_3, cusolverDn, gebrd_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_12, cusolverDn, gesvdj_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_11, cusolverDn, gesvdjBatched_bufferSize)
FOR_EACH_TYPE(SIZE_AFTER_16, cusolverDn, gesvdaStridedBatched_bufferSize)
FOR_REAL(SIZE_AFTER_7, cusolverDn, orgqr_bufferSize)
FOR_COMPLEX(SIZE_AFTER_7, cusolverDn, ungqr_bufferSize)
FOR_REAL(SIZE_AFTER_11, cusolverDn, ormqr_bufferSize)
FOR_COMPLEX(SIZE_AFTER_11, cusolverDn, unmqr_bufferSize)
FOR_REAL(SIZE_AFTER_7, cusolverDn, syevd_bufferSize)
FOR_COMPLEX(SIZE_AFTER_7, cusolverDn, heevd_bufferSize)
FOR_REAL(SIZE_AFTER_7, cusolverDn, syevj_bufferSize)
FOR_COMPLEX(SIZE_AFTER_7, cusolverDn, heevj_bufferSize)
FOR_REAL(SIZE_AFTER_7, cusolverDn, syevjBatched_bufferSize)
FOR_COMPLEX(SIZE_AFTER_7, cusolverDn, heevjBatched_bufferSize)

SIMGPU_API int cusolverDnXpotrf_bufferSize(W, W, W, W, W, W, W, W, size_t* device, size_t* host) {
  return Zero(device, host);
}
SIMGPU_API int cusolverDnXgeqrf_bufferSize(W, W, W, W, W, W, W, W, W, W, size_t* device, size_t* host) {
  return Zero(device, host);
}
SIMGPU_API int cusolverDnXsyevd_bufferSize(W, W, W, W, W, W, W, W, W, W, W, size_t* device, size_t* host) {
  return Zero(device, host);
}
SIMGPU_API int cusolverDnXsyevBatched_bufferSize(W, W, W, W, W, W, W, W, W, W, W, size_t* device, size_t* host, W) {
  return Zero(device, host);
}
SIMGPU_API int cusolverDnXsytrs_bufferSize(W, W, W, W, W, W, W, W, W, W, W, size_t* device, size_t* host) {
  return Zero(device, host);
}
SIMGPU_API int cusolverDnXgeev_bufferSize(W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, size_t* device,
                                          size_t* host) {
  return Zero(device, host);
}

SIMGPU_API int cusolverDnGetStream(W, void** stream) { return NoStream(stream); }

// The versions are those of CUDA 13.0.
SIMGPU_API int cusolverGetProperty(int property, int* value) { return VersionPart({12, 0, 4}, property, value); }
SIMGPU_API int cusparseGetProperty(int property, int* value) { return VersionPart({12, 6, 3}, property, value); }

HANDLE(cusparseCreate)
HANDLE(cusparseCreateMatDescr)
HANDLE(cusparseCreateCoo)
HANDLE(cusparseCreateCsr)
HANDLE(cusparseCreateDnMat)
HANDLE(cusparseCreateDnVec)
HANDLE(cusparseCreateSpVec)
HANDLE(cusparseSpSM_createDescr)
HANDLE(cusparseSpSV_createDescr)

SIMGPU_API const char* cusparseGetErrorString(int status) {
  return status == 0 ? "CUSPARSE_STATUS_SUCCESS" : "CUSPARSE_STATUS_NOT_SUPPORTED";
}
SIMGPU_API int cusparseSpMM_bufferSize(W, W, W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseSDDMM_bufferSize(W, W, W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseSpMV_bufferSize(W, W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseXcoosort_bufferSizeExt(W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseXcsrsort_bufferSizeExt(W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseXcscsort_bufferSizeExt(W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseSpVV_bufferSize(W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseSpSM_bufferSize(W, W, W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
SIMGPU_API int cusparseSpSV_bufferSize(W, W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
#define GTSV_SIZE(name) \
  SIMGPU_API int name(W, W, W, W, W, W, W, W, size_t* bytes) { return Zero(bytes); }
FOR_EACH_TYPE(GTSV_SIZE, cusparse, gtsv2_bufferSizeExt)
FOR_EACH_TYPE(GTSV_SIZE, cusparse, gtsv2_nopivot_bufferSizeExt)
FOR_EACH_TYPE(GTSV_SIZE, cusparse, gtsv2StridedBatch_bufferSizeExt)

SIMGPU_API int cusparseGetStream(W, void** stream) { return NoStream(stream); }
SIMGPU_API int cusparseGetVersion(W, int* version) {
  *version = 12603;  // 12.6.3, of CUDA 13.0
  return 0;
}
