// An allocator for CUDAPluggableAllocator: cudaMalloc for each tensor.
#include <stddef.h>
#include <sys/types.h>

int cudaMalloc(void** pointer, size_t bytes);
int cudaFree(void* pointer);

void* give(ssize_t bytes, int device, void* stream) {
  void* pointer = NULL;
  (void)device, (void)stream;
  return cudaMalloc(&pointer, (size_t)bytes) == 0 ? pointer : NULL;
}

void take(void* pointer, ssize_t bytes, int device, void* stream) {
  (void)bytes, (void)device, (void)stream;
  cudaFree(pointer);
}
