// CUDA runtime: devices, properties, attributes, versions.
#include <cstdio>
#include <cstring>

#include "simgpu/activity.h"
#include "simgpu/api/pools.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kCudaVersion = CUDART_VERSION;  // the headers' version: a driver as old as the newest known runtime
constexpr int kWarpSize = 32;

cudaDeviceProp Properties(int index) {
  const GpuModel& gpu = *Machine::Get().settings().gpu;
  const CapabilityLimits& limits = LimitsOf(gpu.capability_major, gpu.capability_minor);
  cudaDeviceProp p = {};
  std::snprintf(p.name, sizeof p.name, "%s", gpu.marketing_name);
  unsigned char uuid[16];
  const int number = Machine::Get().MachineNumber(index);
  Machine::Uuid(number, uuid);
  std::memcpy(p.uuid.bytes, uuid, sizeof uuid);
  p.totalGlobalMem = static_cast<size_t>(Machine::Get().device(index).total());
  p.sharedMemPerBlock = 48 << 10;
  p.sharedMemPerBlockOptin = limits.shared_per_block_optin;
  p.sharedMemPerMultiprocessor = limits.shared_per_multiprocessor;
  p.reservedSharedMemPerBlock = limits.shared_per_multiprocessor - limits.shared_per_block_optin;
  p.regsPerBlock = 65536;
  p.regsPerMultiprocessor = 65536;
  p.warpSize = kWarpSize;
  p.memPitch = 0x7fffffff;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiProcessor = limits.threads_per_multiprocessor;
  p.maxBlocksPerMultiProcessor = limits.blocks_per_multiprocessor;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 0x7fffffff;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.totalConstMem = 64 << 10;
  p.major = gpu.capability_major;
  p.minor = gpu.capability_minor;
  p.textureAlignment = p.surfaceAlignment = 512;
  p.texturePitchAlignment = 32;
  p.multiProcessorCount = gpu.multiprocessors;
  p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = p.streamPrioritiesSupported = 1;
  p.globalL1CacheSupported = p.localL1CacheSupported = p.managedMemory = p.concurrentManagedAccess = 1;
  p.computePreemptionSupported = p.canUseHostPointerForRegisteredMem = p.cooperativeLaunch = 1;
  p.hostRegisterSupported = p.memoryPoolsSupported = p.unifiedFunctionPointers = 1;
  p.clusterLaunch = gpu.capability_major >= 9;
  p.asyncEngineCount = 2;
  p.pciBusID = Machine::PciBus(number);
  p.memoryBusWidth = gpu.bus_width;
  p.l2CacheSize = gpu.l2_bytes;
  p.persistingL2CacheMaxSize = gpu.l2_bytes / 16 * 11;  // 11/16 of the cache, as on GA100
  p.hostNumaId = -1;
  return p;
}

}  // namespace

namespace oomtrace::simgpu {

// What is not listed is a feature that the simulated GPU does not have: 0.
cudaError_t DeviceAttribute(int* value, int attribute, int device) {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  if (value == nullptr) return Return(cudaErrorInvalidValue);
  const cudaDeviceProp p = Properties(device);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimX:
      *value = p.maxThreadsDim[0];
      break;
    case cudaDevAttrMaxBlockDimY:
      *value = p.maxThreadsDim[1];
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = p.maxThreadsDim[2];
      break;
    case cudaDevAttrMaxGridDimX:
      *value = p.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
      *value = p.maxGridSize[1];
      break;
    case cudaDevAttrMaxGridDimZ:
      *value = p.maxGridSize[2];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrTotalConstantMemory:
      *value = static_cast<int>(p.totalConstMem);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMaxPitch:
      *value = static_cast<int>(p.memPitch);
      break;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = p.regsPerBlock;
      break;
    case cudaDevAttrClockRate:
      *value = Machine::Get().settings().gpu->clock_khz;
      break;
    case cudaDevAttrMemoryClockRate:
      *value = 10501000;
      break;  // kHz of GDDR6X; Triton uses it for a bandwidth guess
    case cudaDevAttrTextureAlignment:
      *value = static_cast<int>(p.textureAlignment);
      break;
    case cudaDevAttrTexturePitchAlignment:
      *value = static_cast<int>(p.texturePitchAlignment);
      break;
    case cudaDevAttrSurfaceAlignment:
      *value = static_cast<int>(p.surfaceAlignment);
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrGpuOverlap:
      *value = 1;
      break;
    case cudaDevAttrAsyncEngineCount:
      *value = p.asyncEngineCount;
      break;
    case cudaDevAttrPciBusId:
      *value = p.pciBusID;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = p.memoryBusWidth;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrMaxPersistingL2CacheSize:
      *value = p.persistingL2CacheMaxSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = p.maxBlocksPerMultiProcessor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(p.reservedSharedMemPerBlock);
      break;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = p.regsPerMultiprocessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrSingleToDoublePrecisionPerfRatio:
      *value = p.major >= 8 && p.minor == 0 ? 2 : 64;
      break;
    case cudaDevAttrHostNumaId:
      *value = p.hostNumaId;
      break;
    case cudaDevAttrClusterLaunch:
      *value = p.clusterLaunch;
      break;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrGlobalL1CacheSupported:
    case cudaDevAttrLocalL1CacheSupported:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess:
    case cudaDevAttrComputePreemptionSupported:
    case cudaDevAttrCanUseHostPointerForRegisteredMem:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrHostRegisterSupported:
    case cudaDevAttrMemoryPoolsSupported:
    case 102:  // CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: the runtime has no name for it
      *value = 1;
      break;
    default:
      *value = 0;
  }
  return Return(cudaSuccess);
}

}  // namespace oomtrace::simgpu

SIMGPU_API cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  *count = Machine::Get().device_count();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGetDevice(int* device) {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  *device = Machine::current_device();
  return Return(cudaSuccess);
}

// Creates the context, as the runtime does since CUDA 12.
SIMGPU_API cudaError_t cudaSetDevice(int device) {
  if (const Refusal refusal = Machine::Get().RequireContext(device); refusal != Refusal::kNone) return Return(refusal);
  Machine::choose_device(device);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaInitDevice(int device, unsigned int, unsigned int) {
  return Return(Machine::Get().RequireContext(device));
}

SIMGPU_API cudaError_t cudaSetDeviceFlags(unsigned int) { return Return(Machine::Get().CheckUsable()); }

SIMGPU_API cudaError_t cudaGetDeviceFlags(unsigned int* flags) {
  *flags = 0;
  return Return(Machine::Get().CheckUsable());
}

SIMGPU_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  *properties = Properties(device);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return DeviceAttribute(value, attribute, device);
}

SIMGPU_API cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  std::snprintf(id, static_cast<size_t>(length), "0000:%02x:00.0",
                Machine::PciBus(Machine::Get().MachineNumber(device)));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* id) {
  unsigned domain = 0;
  unsigned bus = 0;
  if (std::sscanf(id, "%x:%x", &domain, &bus) != 2) return Return(cudaErrorInvalidValue);
  *device = Machine::Get().VisibleIndex(static_cast<int>(bus) - Machine::PciBus(0));
  return Return(Machine::Get().valid(*device) ? cudaSuccess : cudaErrorInvalidDevice);
}

SIMGPU_API cudaError_t cudaDeviceSynchronize() {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaDeviceSynchronize_v3020, "cudaDeviceSynchronize");
  WaitForActivity();
  SIMGPU_REQUIRE_CONTEXT();
  SettlePools();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceReset() {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Return(refusal);
  Machine::Get().current().DropContext();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceCanAccessPeer(int* possible, int device, int peer) {
  *possible = device != peer ? 1 : 0;
  const bool valid = Machine::Get().valid(device) && Machine::Get().valid(peer);
  return Return(valid ? cudaSuccess : cudaErrorInvalidDevice);
}

SIMGPU_API cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int) {
  return Return(Machine::Get().RequireContext(peer));
}

SIMGPU_API cudaError_t cudaDeviceDisablePeerAccess(int) { return Return(cudaSuccess); }

SIMGPU_API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceGetLimit(size_t* value, cudaLimit) {
  *value = 1024;  // the default stack size of a thread; no kernel runs, so no limit matters
  return Return(Machine::Get().CheckUsable());
}

SIMGPU_API cudaError_t cudaDeviceSetLimit(cudaLimit, size_t) { return Return(Machine::Get().CheckUsable()); }
SIMGPU_API cudaError_t cudaDeviceSetCacheConfig(cudaFuncCache) { return Return(Machine::Get().CheckUsable()); }

SIMGPU_API cudaError_t cudaDriverGetVersion(int* version) {
  *version = Machine::Get().machine_device_count() > 0 ? kCudaVersion : 0;  // 0: no driver
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaProfilerStart() { return Return(cudaSuccess); }
SIMGPU_API cudaError_t cudaProfilerStop() { return Return(cudaSuccess); }
