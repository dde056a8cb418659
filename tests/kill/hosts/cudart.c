// The least that looks like a CUDA runtime from the recorder's side: no lock, no state but a counter, so that a host
// may call it in a signal handler or in a forked child, where the real one and the simulated GPU would refuse.
#include <stddef.h>
#include <stdint.h>

static const size_t kTotal = (size_t)12 << 30;
static uint64_t taken = 0;

int cudaMalloc(void** pointer, size_t bytes) {
  const uint64_t rounded = (bytes + 511) / 512 * 512;
  *pointer = (void*)(uintptr_t)(0x7e0000000000u + __atomic_fetch_add(&taken, rounded, __ATOMIC_RELAXED));
  return 0;
}

int cudaFree(void* pointer) { return 0; }

int cudaMemGetInfo(size_t* free, size_t* total) {
  *free = kTotal - __atomic_load_n(&taken, __ATOMIC_RELAXED) % kTotal;
  *total = kTotal;
  return 0;
}

int cudaGetDevice(int* device) {
  *device = 0;
  return 0;
}
