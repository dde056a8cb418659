// What CUDA 12 has and CUDA 13 has no more, or has in another form under another name: for wheels built with CUDA 12.
#include <cstring>

#include "simgpu/api/runtime.h"
#include "simgpu/machine.h"

using namespace oomtrace::simgpu;

namespace {

// cudaDeviceProp of driver_types.h in CUDA 12.0 to 12.9.
struct DeviceProperties12 {
  char name[256];
  cudaUUID_t uuid;
  char luid[8];
  unsigned int luidDeviceNodeMask;
  size_t totalGlobalMem, sharedMemPerBlock;
  int regsPerBlock, warpSize;
  size_t memPitch;
  int maxThreadsPerBlock;
  int maxThreadsDim[3];
  int maxGridSize[3];
  int clockRate;
  size_t totalConstMem;
  int major, minor;
  size_t textureAlignment, texturePitchAlignment;
  int deviceOverlap, multiProcessorCount, kernelExecTimeoutEnabled, integrated, canMapHostMemory, computeMode;
  int maxTexture1D, maxTexture1DMipmap, maxTexture1DLinear;
  int maxTexture2D[2];
  int maxTexture2DMipmap[2];
  int maxTexture2DLinear[3];
  int maxTexture2DGather[2];
  int maxTexture3D[3];
  int maxTexture3DAlt[3];
  int maxTextureCubemap;
  int maxTexture1DLayered[2];
  int maxTexture2DLayered[3];
  int maxTextureCubemapLayered[2];
  int maxSurface1D;
  int maxSurface2D[2];
  int maxSurface3D[3];
  int maxSurface1DLayered[2];
  int maxSurface2DLayered[3];
  int maxSurfaceCubemap;
  int maxSurfaceCubemapLayered[2];
  size_t surfaceAlignment;
  int concurrentKernels, ECCEnabled, pciBusID, pciDeviceID, pciDomainID, tccDriver, asyncEngineCount;
  int unifiedAddressing, memoryClockRate, memoryBusWidth, l2CacheSize, persistingL2CacheMaxSize;
  int maxThreadsPerMultiProcessor, streamPrioritiesSupported, globalL1CacheSupported, localL1CacheSupported;
  size_t sharedMemPerMultiprocessor;
  int regsPerMultiprocessor, managedMemory, isMultiGpuBoard, multiGpuBoardGroupID, hostNativeAtomicSupported;
  int singleToDoublePrecisionPerfRatio, pageableMemoryAccess, concurrentManagedAccess, computePreemptionSupported;
  int canUseHostPointerForRegisteredMem, cooperativeLaunch, cooperativeMultiDeviceLaunch;
  size_t sharedMemPerBlockOptin;
  int pageableMemoryAccessUsesHostPageTables, directManagedMemAccessFromHost, maxBlocksPerMultiProcessor;
  int accessPolicyMaxWindowSize;
  size_t reservedSharedMemPerBlock;
  int hostRegisterSupported, sparseCudaArraySupported, hostRegisterReadOnlySupported;
  int timelineSemaphoreInteropSupported, memoryPoolsSupported, gpuDirectRDMASupported;
  unsigned int gpuDirectRDMAFlushWritesOptions;
  int gpuDirectRDMAWritesOrdering;
  unsigned int memoryPoolSupportedHandleTypes;
  int deferredMappingCudaArraySupported, ipcEventSupported, clusterLaunch, unifiedFunctionPointers;
  int reserved[63];
};
static_assert(sizeof(DeviceProperties12) == 1032, "the size that CUDA 12's programs reserve");

}  // namespace

SIMGPU_API cudaError_t cudaGetDeviceProperties_v2(DeviceProperties12* properties, int device) {
  cudaDeviceProp now;
  if (const cudaError_t error = cudaGetDeviceProperties(&now, device)) return error;
  *properties = {};
#define COPY(field) std::memcpy(&properties->field, &now.field, sizeof now.field)
  COPY(name);
  COPY(uuid);
  COPY(luid);
  COPY(luidDeviceNodeMask);
  COPY(totalGlobalMem);
  COPY(sharedMemPerBlock);
  COPY(regsPerBlock);
  COPY(warpSize);
  COPY(memPitch);
  COPY(maxThreadsPerBlock);
  COPY(maxThreadsDim);
  COPY(maxGridSize);
  COPY(totalConstMem);
  COPY(major);
  COPY(minor);
  COPY(textureAlignment);
  COPY(texturePitchAlignment);
  COPY(multiProcessorCount);
  COPY(integrated);
  COPY(canMapHostMemory);
  COPY(maxTexture1D);
  COPY(maxTexture1DMipmap);
  COPY(maxTexture2D);
  COPY(maxTexture2DMipmap);
  COPY(maxTexture2DLinear);
  COPY(maxTexture2DGather);
  COPY(maxTexture3D);
  COPY(maxTexture3DAlt);
  COPY(maxTextureCubemap);
  COPY(maxTexture1DLayered);
  COPY(maxTexture2DLayered);
  COPY(maxTextureCubemapLayered);
  COPY(maxSurface1D);
  COPY(maxSurface2D);
  COPY(maxSurface3D);
  COPY(maxSurface1DLayered);
  COPY(maxSurface2DLayered);
  COPY(maxSurfaceCubemap);
  COPY(maxSurfaceCubemapLayered);
  COPY(surfaceAlignment);
  COPY(concurrentKernels);
  COPY(ECCEnabled);
  COPY(pciBusID);
  COPY(pciDeviceID);
  COPY(pciDomainID);
  COPY(tccDriver);
  COPY(asyncEngineCount);
  COPY(unifiedAddressing);
  COPY(memoryBusWidth);
  COPY(l2CacheSize);
  COPY(persistingL2CacheMaxSize);
  COPY(maxThreadsPerMultiProcessor);
  COPY(streamPrioritiesSupported);
  COPY(globalL1CacheSupported);
  COPY(localL1CacheSupported);
  COPY(sharedMemPerMultiprocessor);
  COPY(regsPerMultiprocessor);
  COPY(managedMemory);
  COPY(isMultiGpuBoard);
  COPY(multiGpuBoardGroupID);
  COPY(hostNativeAtomicSupported);
  COPY(pageableMemoryAccess);
  COPY(concurrentManagedAccess);
  COPY(computePreemptionSupported);
  COPY(canUseHostPointerForRegisteredMem);
  COPY(cooperativeLaunch);
  COPY(sharedMemPerBlockOptin);
  COPY(pageableMemoryAccessUsesHostPageTables);
  COPY(directManagedMemAccessFromHost);
  COPY(maxBlocksPerMultiProcessor);
  COPY(accessPolicyMaxWindowSize);
  COPY(reservedSharedMemPerBlock);
  COPY(hostRegisterSupported);
  COPY(sparseCudaArraySupported);
  COPY(hostRegisterReadOnlySupported);
  COPY(timelineSemaphoreInteropSupported);
  COPY(memoryPoolsSupported);
  COPY(gpuDirectRDMASupported);
  COPY(gpuDirectRDMAFlushWritesOptions);
  COPY(gpuDirectRDMAWritesOrdering);
  COPY(memoryPoolSupportedHandleTypes);
  COPY(deferredMappingCudaArraySupported);
  COPY(ipcEventSupported);
  COPY(clusterLaunch);
  COPY(unifiedFunctionPointers);
#undef COPY
  properties->deviceOverlap = 1;
  DeviceAttribute(&properties->clockRate, cudaDevAttrClockRate, device);
  DeviceAttribute(&properties->memoryClockRate, cudaDevAttrMemoryClockRate, device);
  DeviceAttribute(&properties->singleToDoublePrecisionPerfRatio, cudaDevAttrSingleToDoublePrecisionPerfRatio, device);
  return cudaSuccess;
}

// Without the edges that CUDA 13's cudaStreamGetCaptureInfo also tells.
SIMGPU_API cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                                   unsigned long long* id, cudaGraph_t* graph,
                                                   const cudaGraphNode_t** dependencies, size_t* count) {
  return cudaStreamGetCaptureInfo(stream, status, id, graph, dependencies, nullptr, count);
}

SIMGPU_API cudaError_t cudaStreamGetCaptureInfo_v3(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                                   unsigned long long* id, cudaGraph_t* graph,
                                                   const cudaGraphNode_t** dependencies,
                                                   const cudaGraphEdgeData** edges, size_t* count) {
  return cudaStreamGetCaptureInfo(stream, status, id, graph, dependencies, edges, count);
}

SIMGPU_API cudaError_t cudaEventElapsedTime_v2(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return cudaEventElapsedTime(milliseconds, start, end);
}

// CUDA 12's forms of advice and prefetching name a device by its number, the later ones (_v2) by a location. Neither
// moves anything here, so the plain names (runtime_memory.cc) serve both.
SIMGPU_API cudaError_t cudaMemAdvise_v2(const void*, size_t, cudaMemoryAdvise, cudaMemLocation) {
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPrefetchAsync_v2(const void*, size_t, cudaMemLocation, unsigned int, cudaStream_t) {
  return Return(cudaSuccess);
}
