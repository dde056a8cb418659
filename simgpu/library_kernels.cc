#include "simgpu/library_kernels.h"

#include <cuda.h>
#include <dlfcn.h>

#include <cstring>

#include "simgpu/activity.h"
#include "simgpu/loaded_kernels.h"
#include "simgpu/streams.h"

namespace oomtrace::simgpu {
namespace {

constexpr size_t kMostPointers = 12;

using LaunchFunction = decltype(cuLaunchKernel);

LaunchFunction* FindLaunch() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (driver == nullptr) return nullptr;
  using Find = CUresult(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);
  auto* find = reinterpret_cast<Find*>(dlsym(driver, "cuGetProcAddress_v2"));
  void* launch = nullptr;
  if (find == nullptr || find("cuLaunchKernel", &launch, CUDA_VERSION, 0, nullptr) != CUDA_SUCCESS) return nullptr;
  return reinterpret_cast<LaunchFunction*>(launch);
}

// Setters, handles and descriptors are called often and enqueue nothing.
bool Enqueues(const char* function) {
  for (const char* word : {"Set", "Destroy", "Create", "Get", "Restore"})
    if (std::strstr(function, word) != nullptr) return false;
  return true;
}

}  // namespace

int LaunchFromLibrary(const char* name, std::initializer_list<const void*> pointers, uintptr_t stream) {
  static LaunchFunction* const launch = FindLaunch();
  if (launch == nullptr || pointers.size() > kMostPointers) return 0;
  const void* values[kMostPointers];
  void* arguments[kMostPointers];
  size_t count = 0;
  for (const void* pointer : pointers) {
    values[count] = pointer;
    arguments[count] = &values[count];
    ++count;
  }
  const uintptr_t function = LoadedKernels::Get().BuiltIn(name, count);
  launch(reinterpret_cast<CUfunction>(function), 1, 1, 1, 128, 1, 1, 0, reinterpret_cast<CUstream>(stream), arguments,
         nullptr);
  return 0;
}

int EnqueueUnknown(const char* function) {
  if ((!CuptiSession::Watched() && !Streams::Capturing()) || !Enqueues(function)) return 0;
  const ApiCall call(kDriverApi, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, "cuLaunchKernel");
  RunKernel({.name = function}, 0);
  return 0;
}

}  // namespace oomtrace::simgpu
