// CUDA driver: stream-ordered allocation and memory pools. The runtime's calls do the work.
#include <cuda_runtime_api.h>

#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

cudaStream_t Stream(CUstream stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaMemPool_t Pool(CUmemoryPool pool) { return reinterpret_cast<cudaMemPool_t>(pool); }

}  // namespace

SIMGPU_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  return Driver(cudaMallocFromPoolAsync(reinterpret_cast<void**>(address), bytes, Pool(pool), Stream(stream)));
}

// With per-thread default streams: streams run no work here, so the choice of the default one makes no difference.
SIMGPU_API CUresult cuMemAllocAsync_ptsz(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return cuMemAllocAsync(address, bytes, stream);
}
SIMGPU_API CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                                 CUstream stream) {
  return cuMemAllocFromPoolAsync(address, bytes, pool, stream);
}
SIMGPU_API CUresult cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) {
  return cuMemFreeAsync(address, stream);
}
SIMGPU_API cudaError_t cudaMallocAsync_ptsz(void** pointer, size_t bytes, cudaStream_t stream) {
  return cudaMallocAsync(pointer, bytes, stream);
}
SIMGPU_API cudaError_t cudaMallocFromPoolAsync_ptsz(void** pointer, size_t bytes, cudaMemPool_t pool,
                                                    cudaStream_t stream) {
  return cudaMallocFromPoolAsync(pointer, bytes, pool, stream);
}
SIMGPU_API cudaError_t cudaFreeAsync_ptsz(void* pointer, cudaStream_t stream) { return cudaFreeAsync(pointer, stream); }

SIMGPU_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  return Driver(cudaDeviceGetDefaultMemPool(reinterpret_cast<cudaMemPool_t*>(pool), device));
}
SIMGPU_API CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return Driver(cudaDeviceGetMemPool(reinterpret_cast<cudaMemPool_t*>(pool), device));
}
SIMGPU_API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  return Driver(cudaDeviceSetMemPool(device, Pool(pool)));
}

SIMGPU_API CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  cudaMemPoolProps same = {};
  same.location.id = properties->location.id;
  return Driver(cudaMemPoolCreate(reinterpret_cast<cudaMemPool_t*>(pool), &same));
}
SIMGPU_API CUresult cuMemPoolDestroy(CUmemoryPool pool) { return Driver(cudaMemPoolDestroy(Pool(pool))); }
SIMGPU_API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
  return Driver(cudaMemPoolTrimTo(Pool(pool), keep));
}
// The two enumerations of attributes share their numbers.
SIMGPU_API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  return Driver(cudaMemPoolSetAttribute(Pool(pool), static_cast<cudaMemPoolAttr>(attribute), value));
}
SIMGPU_API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  return Driver(cudaMemPoolGetAttribute(Pool(pool), static_cast<cudaMemPoolAttr>(attribute), value));
}
