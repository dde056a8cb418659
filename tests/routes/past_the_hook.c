// Takes memory from the CUDA runtime that it is linked with. Loaded with RTLD_DEEPBIND it finds that one before any
// preloaded library.
#include <cuda_runtime_api.h>

int TakeMemory(size_t bytes) {
  void* pointer;
  return (int)cudaMalloc(&pointer, bytes);
}
