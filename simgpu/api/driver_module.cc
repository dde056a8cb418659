// CUDA driver: modules, functions, launches, streams and events. Kernels do nothing.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "simgpu/activity.h"
#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"
#include "simgpu/kernels.h"
#include "simgpu/loaded_kernels.h"
#include "simgpu/streams.h"

using namespace oomtrace::simgpu;

namespace {

template <typename Handle>
Handle Opaque() {
  return reinterpret_cast<Handle>(Machine::Get().NewHandle());
}

template <typename Handle>
CUresult Give(Handle* handle) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  *handle = Opaque<Handle>();
  return CUDA_SUCCESS;
}

// A module, or a library: one thing here.
template <typename Handle>
CUresult GiveModule(Handle* handle, const void* image) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  *handle = reinterpret_cast<Handle>(LoadedKernels::Get().Load(image));
  return CUDA_SUCCESS;
}

template <typename Handle>
CUresult GiveModuleOf(Handle* handle, const char* path) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::ifstream file(path, std::ios::binary);
  if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
  // A word of zeros ends what is no ELF image, PTX above all.
  std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  image.append(sizeof(uint64_t), '\0');
  return GiveModule(handle, image.data());
}

struct Extent {
  unsigned int x, y, z;
};

CUresult Launch(CUfunction function, Extent grid, Extent block, unsigned int shared_bytes, CUstream stream) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  const ApiCall call(kDriverApi, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, "cuLaunchKernel");
  if (CuptiSession::Watched() || Streams::Capturing()) {
    RunKernel({.name = LoadedKernels::Get().NameOf(reinterpret_cast<uintptr_t>(function)),
               .grid = {grid.x, grid.y, grid.z},
               .block = {block.x, block.y, block.z},
               .shared_bytes = shared_bytes},
              reinterpret_cast<uintptr_t>(stream));
  }
  return CUDA_SUCCESS;
}

cudaStream_t Stream(CUstream stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t Event(CUevent event) { return reinterpret_cast<cudaEvent_t>(event); }

// No module's code is read, so a global of any name and at most this size exists, and holds zeros.
constexpr size_t kGlobalBytes = 64 << 10;

void* GlobalOf(CUmodule module, const char* name) {
  static std::mutex mutex;
  static auto* globals = new std::map<std::pair<CUmodule, std::string>, void*>;
  std::lock_guard lock(mutex);
  void*& address = (*globals)[{module, name}];
  if (address == nullptr) address = std::calloc(1, kGlobalBytes);
  return address;
}

}  // namespace

SIMGPU_API CUresult cuModuleLoad(CUmodule* module, const char* path) { return GiveModuleOf(module, path); }
SIMGPU_API CUresult cuModuleLoadData(CUmodule* module, const void* image) { return GiveModule(module, image); }
SIMGPU_API CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) { return GiveModule(module, image); }
SIMGPU_API CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }

SIMGPU_API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int, CUjit_option*, void**) {
  return GiveModule(module, image);
}

SIMGPU_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  *function = reinterpret_cast<CUfunction>(LoadedKernels::Get().Function(reinterpret_cast<uintptr_t>(module), name));
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule module, const char* name) {
  if (address != nullptr) *address = reinterpret_cast<CUdeviceptr>(GlobalOf(module, name));
  if (bytes != nullptr) *bytes = kGlobalBytes;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuLibraryLoadData(CUlibrary* library, const void* image, CUjit_option*, void**, unsigned int,
                                      CUlibraryOption*, void**, unsigned int) {
  return GiveModule(library, image);
}

SIMGPU_API CUresult cuLibraryUnload(CUlibrary) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  SIMGPU_REQUIRE_DRIVER_CONTEXT();
  *kernel = reinterpret_cast<CUkernel>(LoadedKernels::Get().Function(reinterpret_cast<uintptr_t>(library), name));
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
  *module = reinterpret_cast<CUmodule>(library);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuKernelSetAttribute(CUfunction_attribute, int, CUkernel, CUdevice) { return CUDA_SUCCESS; }

SIMGPU_API CUresult cuLinkCreate_v2(unsigned int, CUjit_option*, void**, CUlinkState* state) { return Give(state); }

SIMGPU_API CUresult cuLinkAddData_v2(CUlinkState, CUjitInputType, void*, size_t, const char*, unsigned int,
                                     CUjit_option*, void**) {
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuLinkComplete(CUlinkState, void** cubin, size_t* bytes) {
  static char nothing[16];
  *cubin = nothing;
  *bytes = sizeof nothing;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuLinkDestroy(CUlinkState) { return CUDA_SUCCESS; }

// Triton gives up on a kernel whose maximum block is 0 threads.
SIMGPU_API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
  const GpuModel* gpu = Machine::Get().settings().gpu ? &*Machine::Get().settings().gpu : nullptr;
  if (gpu == nullptr) return CUDA_ERROR_NO_DEVICE;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = 1024;
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = 32;
      break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = gpu->capability_major * 10 + gpu->capability_minor;
      break;
    default:
      *value = 0;
  }
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel kernel, CUdevice) {
  return cuFuncGetAttribute(value, attribute, reinterpret_cast<CUfunction>(kernel));
}

// A function is one of a loaded module, or of a library's own code (the runtime's handles are addresses).
SIMGPU_API CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* bytes) {
  const KernelParameters* parameters = LoadedKernels::Get().ParametersOf(reinterpret_cast<uintptr_t>(function));
  if (parameters == nullptr) parameters = Kernels::Get().ParametersOf(function);
  if (parameters == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (index >= parameters->size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = (*parameters)[index].offset;
  if (bytes != nullptr) *bytes = (*parameters)[index].size;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t* offset, size_t* bytes) {
  return cuFuncGetParamInfo(reinterpret_cast<CUfunction>(kernel), index, offset, bytes);
}

SIMGPU_API CUresult cuFuncGetName(const char** name, CUfunction function) {
  *name = LoadedKernels::Get().NameOf(reinterpret_cast<uintptr_t>(function));
  if (**name == '\0') *name = Kernels::Get().NameOf(function);
  return **name != '\0' ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

SIMGPU_API CUresult cuKernelGetName(const char** name, CUkernel kernel) {
  return cuFuncGetName(name, reinterpret_cast<CUfunction>(kernel));
}

SIMGPU_API CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuFuncLoad(CUfunction) { return CUDA_SUCCESS; }

SIMGPU_API CUresult cuFuncGetModule(CUmodule* module, CUfunction) { return Give(module); }

SIMGPU_API CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                                   unsigned int block_x, unsigned int block_y, unsigned int block_z,
                                   unsigned int shared_bytes, CUstream stream, void**, void**) {
  return Launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, stream);
}

SIMGPU_API CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void**, void**) {
  return Launch(function, {config->gridDimX, config->gridDimY, config->gridDimZ},
                {config->blockDimX, config->blockDimY, config->blockDimZ}, config->sharedMemBytes, config->hStream);
}

SIMGPU_API CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                              unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                              unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                                              void**) {
  return Launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, stream);
}

SIMGPU_API CUresult cuLaunchHostFunc(CUstream, CUhostFn function, void* data) {
  function(data);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int block_size,
                                                                size_t shared_bytes) {
  return Driver(cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, nullptr, block_size, shared_bytes));
}

SIMGPU_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction, int block_size,
                                                                         size_t shared_bytes, unsigned int) {
  return Driver(cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, nullptr, block_size, shared_bytes));
}

SIMGPU_API CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction, const CUlaunchConfig*) {
  *clusters = Machine::Get().settings().gpu->multiprocessors;  // one a multiprocessor
  return CUDA_SUCCESS;
}

// The descriptor is read by kernels only.
SIMGPU_API CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                           const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                           CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                           CUtensorMapFloatOOBfill) {
  *map = {};
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuStreamCreate(CUstream* stream, unsigned int flags) {
  return Driver(cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), flags));
}

SIMGPU_API CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int priority) {
  return Driver(cudaStreamCreateWithPriority(reinterpret_cast<cudaStream_t*>(stream), flags, priority));
}

SIMGPU_API CUresult cuStreamDestroy_v2(CUstream stream) { return Driver(cudaStreamDestroy(Stream(stream))); }
SIMGPU_API CUresult cuStreamSynchronize(CUstream stream) { return Driver(cudaStreamSynchronize(Stream(stream))); }
SIMGPU_API CUresult cuStreamQuery(CUstream stream) { return Driver(cudaStreamQuery(Stream(stream))); }

SIMGPU_API CUresult cuStreamGetPriority(CUstream stream, int* priority) {
  return Driver(cudaStreamGetPriority(Stream(stream), priority));
}

SIMGPU_API CUresult cuStreamGetCtx(CUstream, CUcontext* context) { return cuCtxGetCurrent(context); }

SIMGPU_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
  return Driver(cudaStreamWaitEvent(Stream(stream), Event(event), flags));
}

SIMGPU_API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  return Driver(cudaStreamIsCapturing(Stream(stream), reinterpret_cast<cudaStreamCaptureStatus*>(status)));
}

SIMGPU_API CUresult cuStreamWriteValue32_v2(CUstream, CUdeviceptr address, cuuint32_t value, unsigned int) {
  CopyBytes(Pointer(address), &value, sizeof value);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuStreamWaitValue32_v2(CUstream, CUdeviceptr, cuuint32_t, unsigned int) { return CUDA_SUCCESS; }

SIMGPU_API CUresult cuEventCreate(CUevent* event, unsigned int flags) {
  return Driver(cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), flags));
}

SIMGPU_API CUresult cuEventDestroy_v2(CUevent event) { return Driver(cudaEventDestroy(Event(event))); }
SIMGPU_API CUresult cuEventQuery(CUevent event) { return Driver(cudaEventQuery(Event(event))); }
SIMGPU_API CUresult cuEventSynchronize(CUevent event) { return Driver(cudaEventSynchronize(Event(event))); }

SIMGPU_API CUresult cuEventRecord(CUevent event, CUstream stream) {
  return Driver(cudaEventRecord(Event(event), Stream(stream)));
}

SIMGPU_API CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  return Driver(cudaEventElapsedTime(milliseconds, Event(start), Event(end)));
}
