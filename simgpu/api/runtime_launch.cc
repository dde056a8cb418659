// CUDA runtime: registration of kernels, launches, attributes of kernels, and the way from names to driver functions.
#include <algorithm>
#include <cstdint>

#include "simgpu/activity.h"
#include "simgpu/address_space.h"
#include "simgpu/api/entry_points.h"
#include "simgpu/api/runtime.h"
#include "simgpu/contents.h"
#include "simgpu/kernels.h"
#include "simgpu/streams.h"

using namespace oomtrace::simgpu;

namespace {

struct LaunchConfiguration {
  dim3 grid;
  dim3 block;
  size_t shared_bytes;
  cudaStream_t stream;
};
thread_local LaunchConfiguration pushed;

// Registers of a kernel: nobody here compiles one. 32 lets every block size up to the maximum fit.
constexpr int kRegisters = 32;
constexpr int kThreadsPerBlock = 1024;

cudaError_t Launch(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                   cudaStream_t stream) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernel_v7000, "cudaLaunchKernel");
  if (CuptiSession::Watched() || Streams::Capturing()) {
    RunKernel({.name = Kernels::Get().NameOf(function),
               .grid = {grid.x, grid.y, grid.z},
               .block = {block.x, block.y, block.z},
               .shared_bytes = static_cast<uint32_t>(shared_bytes)},
              reinterpret_cast<uintptr_t>(stream));
  }
  if (const ControlKernel kernel = Kernels::Get().ControlKernelOf(function)) kernel(arguments);
  return Return(cudaSuccess);
}

int Capability() {
  const GpuModel& gpu = *Machine::Get().settings().gpu;
  return gpu.capability_major * 10 + gpu.capability_minor;
}

}  // namespace

SIMGPU_API void** __cudaRegisterFatBinary(void* wrapper) { return Kernels::Get().AddFatBinary(wrapper); }
SIMGPU_API void __cudaRegisterFatBinaryEnd(void**) {}
SIMGPU_API void __cudaUnregisterFatBinary(void**) {}
SIMGPU_API char __cudaInitModule(void**) { return 1; }

SIMGPU_API void __cudaRegisterFunction(void** fat_binary, const char* host_function, char*, const char* name, int,
                                       uint3*, uint3*, dim3*, dim3*, int*) {
  Kernels::Get().AddFunction(fat_binary, host_function, name);
}

SIMGPU_API void __cudaRegisterVar(void**, char* host_variable, char*, const char*, int, size_t bytes, int, int) {
  Kernels::Get().AddVariable(host_variable, bytes);
}

SIMGPU_API void __cudaRegisterManagedVar(void**, void** host_variable, char*, const char*, int, size_t bytes, int,
                                         int) {
  Kernels::Get().AddVariable(host_variable, bytes);
}

SIMGPU_API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  pushed = {grid, block, shared_bytes, stream};
  return 0;
}

SIMGPU_API cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared_bytes = pushed.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}

SIMGPU_API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                        size_t shared_bytes, cudaStream_t stream) {
  return Launch(function, grid, block, arguments, shared_bytes, stream);
}

// __cudaGetKernel makes the handle from the function's address.
SIMGPU_API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                          size_t shared_bytes, cudaStream_t stream) {
  return Launch(kernel, grid, block, arguments, shared_bytes, stream);
}

SIMGPU_API cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                                   size_t shared_bytes, cudaStream_t stream) {
  return Launch(function, grid, block, arguments, shared_bytes, stream);
}

SIMGPU_API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  return Launch(function, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes, config->stream);
}

SIMGPU_API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  SIMGPU_REQUIRE_CONTEXT();
  *attributes = {};
  attributes->maxThreadsPerBlock = kThreadsPerBlock;
  attributes->numRegs = kRegisters;
  attributes->ptxVersion = attributes->binaryVersion = Kernels::Get().ArchitectureOf(function, Capability());
  attributes->maxDynamicSharedSizeBytes = 48 << 10;
  return Return(cudaSuccess);
}

// Past the last parameter a real runtime answers cudaErrorInvalidValue, by which callers count them.
SIMGPU_API cudaError_t cudaFuncGetParamInfo(const void* function, size_t index, size_t* offset, size_t* bytes) {
  const KernelParameters* parameters = Kernels::Get().ParametersOf(function);
  if (parameters == nullptr) return Return(cudaErrorInvalidDeviceFunction);
  if (index >= parameters->size()) return Return(cudaErrorInvalidValue);
  *offset = (*parameters)[index].offset;
  if (bytes != nullptr) *bytes = (*parameters)[index].size;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGetFuncBySymbol(cudaFunction_t* handle, const void* function) {
  *handle = static_cast<cudaFunction_t>(const_cast<void*>(function));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return Return(cudaSuccess); }
SIMGPU_API cudaError_t cudaFuncSetCacheConfig(const void*, cudaFuncCache) { return Return(cudaSuccess); }

SIMGPU_API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int block_size,
                                                                              size_t shared_bytes, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  const GpuModel& gpu = *Machine::Get().settings().gpu;
  const CapabilityLimits& limits = LimitsOf(gpu.capability_major, gpu.capability_minor);
  int fit = std::min(limits.threads_per_multiprocessor / std::max(block_size, 1), limits.blocks_per_multiprocessor);
  if (shared_bytes > 0) fit = std::min(fit, static_cast<int>(limits.shared_per_multiprocessor / shared_bytes));
  *blocks = std::max(fit, 1);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int block_size,
                                                                     size_t shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size, shared_bytes, 0);
}

SIMGPU_API cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  SIMGPU_REQUIRE_CONTEXT();
  *address = Kernels::Get().VariableAddress(symbol);
  return Return(*address == nullptr ? cudaErrorInvalidSymbol : cudaSuccess);
}

SIMGPU_API cudaError_t cudaGetSymbolSize(size_t* bytes, const void* symbol) {
  *bytes = Kernels::Get().VariableBytes(symbol);
  return Return(*bytes == 0 ? cudaErrorInvalidSymbol : cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t offset,
                                          cudaMemcpyKind) {
  SIMGPU_REQUIRE_CONTEXT();
  void* address = Kernels::Get().VariableAddress(symbol);
  if (address == nullptr) return Return(cudaErrorInvalidSymbol);
  if (offset + bytes > Kernels::Get().VariableBytes(symbol)) return Return(cudaErrorInvalidValue);
  CopyBytes(static_cast<char*>(address) + offset, from, bytes);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, size_t bytes, size_t offset,
                                               cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpyToSymbol(symbol, from, bytes, offset, kind);
}

SIMGPU_API cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned int,
                                                        unsigned long long, cudaDriverEntryPointQueryResult* status) {
  *function = FindDriverFunction(symbol);
  if (status != nullptr) {
    *status = *function == nullptr ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
  }
  return Return(*function == nullptr ? cudaErrorSymbolNotFound : cudaSuccess);
}

// Gone from the headers of CUDA 13, still called by libraries built with CUDA 12.
SIMGPU_API cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long flags,
                                               cudaDriverEntryPointQueryResult* status) {
  return cudaGetDriverEntryPointByVersion(symbol, function, CUDART_VERSION, flags, status);
}
