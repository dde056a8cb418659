// Through the CUDA runtime: linked dynamically or statically.
#include <cuda_runtime_api.h>

#include "program.h"

int TakeMemory(void** memory, size_t bytes) { return (int)cudaMalloc(memory, bytes); }
int TakeMemoryInStreamOrder(void** memory, size_t bytes) { return (int)cudaMallocAsync(memory, bytes, 0); }
int GiveMemoryBack(void* memory) { return (int)cudaFree(memory); }
int GiveMemoryBackInStreamOrder(void* memory) { return (int)cudaFreeAsync(memory, 0); }
int KeepWhatPoolsFree(void) {
  cudaMemPool_t pool;
  unsigned long long all = ~0ull;
  const int error = (int)cudaDeviceGetDefaultMemPool(&pool, 0);
  return error != 0 ? error : (int)cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all);
}

int AskDevice(size_t* free_bytes, size_t* total_bytes) { return (int)cudaMemGetInfo(free_bytes, total_bytes); }
