// Through the driver: linked directly.
#include <cuda.h>

#include "program.h"

static void UseDevice(void) {
  static __thread int ready;
  static CUcontext context;
  if (ready) return;
  ready = 1;
  CUdevice device;
  if (context == NULL) {
    cuInit(0);
    cuDeviceGet(&device, 0);
    cuDevicePrimaryCtxRetain(&context, device);
  }
  cuCtxSetCurrent(context);
}

int TakeMemory(void** memory, size_t bytes) {
  UseDevice();
  return (int)cuMemAlloc((CUdeviceptr*)memory, bytes);
}

int TakeMemoryInStreamOrder(void** memory, size_t bytes) {
  UseDevice();
  return (int)cuMemAllocAsync((CUdeviceptr*)memory, bytes, 0);
}

int GiveMemoryBack(void* memory) { return (int)cuMemFree((CUdeviceptr)memory); }
int GiveMemoryBackInStreamOrder(void* memory) { return (int)cuMemFreeAsync((CUdeviceptr)memory, 0); }

int KeepWhatPoolsFree(void) {
  UseDevice();
  CUmemoryPool pool;
  cuuint64_t all = ~0ull;
  const int error = (int)cuDeviceGetDefaultMemPool(&pool, 0);
  return error != 0 ? error : (int)cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all);
}

int AskDevice(size_t* free_bytes, size_t* total_bytes) {
  UseDevice();
  return (int)cuMemGetInfo(free_bytes, total_bytes);
}
