#include "simgpu/api/entry_points.h"

#include <cuda.h>
#include <dlfcn.h>

#include <cstring>
#include <string>

#include "simgpu/api.h"

namespace oomtrace::simgpu {
namespace {

struct Renamed {
  const char* name;
  const char* exported;
};

// Functions that cuda.h renames to a later version: the plain name means that version.
#define SIMGPU_STRING(text) #text
#define SIMGPU_EXPANDED(name) SIMGPU_STRING(name)
#define RENAMED(name) \
  { #name, SIMGPU_EXPANDED(name) }
constexpr Renamed kRenamed[] = {
    RENAMED(cuArray3DCreate),
    RENAMED(cuArray3DGetDescriptor),
    RENAMED(cuArrayCreate),
    RENAMED(cuArrayGetDescriptor),
    RENAMED(cuCtxCreate),
    RENAMED(cuCtxDestroy),
    RENAMED(cuCtxPopCurrent),
    RENAMED(cuCtxPushCurrent),
    RENAMED(cuDeviceGetUuid),
    RENAMED(cuDevicePrimaryCtxRelease),
    RENAMED(cuDevicePrimaryCtxReset),
    RENAMED(cuDevicePrimaryCtxSetFlags),
    RENAMED(cuDeviceTotalMem),
    RENAMED(cuEventDestroy),
    RENAMED(cuEventElapsedTime),
    RENAMED(cuGetProcAddress),
    RENAMED(cuGraphAddDependencies),
    RENAMED(cuGraphAddKernelNode),
    RENAMED(cuGraphAddNode),
    RENAMED(cuGraphExecKernelNodeSetParams),
    RENAMED(cuGraphExecUpdate),
    RENAMED(cuGraphGetEdges),
    RENAMED(cuGraphKernelNodeGetParams),
    RENAMED(cuGraphKernelNodeSetParams),
    RENAMED(cuGraphNodeGetDependencies),
    RENAMED(cuGraphNodeGetDependentNodes),
    RENAMED(cuGraphRemoveDependencies),
    RENAMED(cuGraphicsResourceGetMappedPointer),
    RENAMED(cuGraphicsResourceSetMapFlags),
    RENAMED(cuIpcOpenMemHandle),
    RENAMED(cuLinkAddData),
    RENAMED(cuLinkAddFile),
    RENAMED(cuLinkCreate),
    RENAMED(cuMemAdvise),
    RENAMED(cuMemAlloc),
    RENAMED(cuMemAllocHost),
    RENAMED(cuMemAllocPitch),
    RENAMED(cuMemFree),
    RENAMED(cuMemGetAddressRange),
    RENAMED(cuMemGetInfo),
    RENAMED(cuMemHostGetDevicePointer),
    RENAMED(cuMemHostRegister),
    RENAMED(cuModuleGetGlobal),
    RENAMED(cuStreamDestroy),
    RENAMED(cuTexRefGetAddress),
    RENAMED(cuTexRefSetAddress),
    RENAMED(cuTexRefSetAddress2D),
};

// This library itself: another preloaded library may stand in front of it in the global scope, and the real driver
// would not answer with that one's functions either.
void* Self() {
  static void* const handle = [] {
    Dl_info info;
    if (dladdr(reinterpret_cast<const void*>(&FindOwnFunction), &info) == 0) return static_cast<void*>(nullptr);
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  }();
  return handle;
}

// As the driver's own table of functions: a dlsym that somebody preloaded might answer with functions of its own.
void* Lookup(const char* name) {
  using Dlsym = void*(void*, const char*);
  static Dlsym* const find = [] {
    for (const char* version : {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"})
      if (void* found = dlvsym(RTLD_DEFAULT, "dlsym", version)) return reinterpret_cast<Dlsym*>(found);
    return static_cast<Dlsym*>(dlsym);
  }();
  return find(Self(), name);
}

}  // namespace

void* FindDriverFunction(const char* name) {
  if (name == nullptr || std::strncmp(name, "cu", 2) != 0 || Self() == nullptr) return nullptr;
  for (const Renamed& renamed : kRenamed) {
    if (std::strcmp(renamed.name, name) == 0) return Lookup(renamed.exported);
  }
  return Lookup(name);
}

void* FindDriverFunction(const char* name, int version, uint64_t flags) {
  constexpr int kSecondAbi = 3020;        // CUDA 3.2 widened sizes and device pointers to 64 bits
  constexpr int kSecondQuestion = 12000;  // CUDA 12 gave cuGetProcAddress its fifth argument
  if (name == nullptr || Self() == nullptr) return nullptr;
  const bool asks_for_the_question = std::strcmp(name, "cuGetProcAddress") == 0;
  if (version < (asks_for_the_question ? kSecondQuestion : kSecondAbi)) return Lookup(name);
  if ((flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0) {
    const std::string per_thread = std::string(name) + "_ptsz";
    if (void* found = Lookup(per_thread.c_str())) return found;
  }
  return FindDriverFunction(name);
}

void* FindOwnFunction(const char* name) { return Self() == nullptr ? nullptr : dlsym(Self(), name); }

}  // namespace oomtrace::simgpu

SIMGPU_API CUresult cuGetProcAddress_v2(const char* name, void** function, int version, cuuint64_t flags,
                                        CUdriverProcAddressQueryResult* status) {
  *function = oomtrace::simgpu::FindDriverFunction(name, version, flags);
  const bool found = *function != nullptr;
  if (status != nullptr) *status = found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// The first version of the function, without the status: for clients built before CUDA 12.
#undef cuGetProcAddress
SIMGPU_API CUresult cuGetProcAddress(const char* name, void** function, int version, cuuint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
