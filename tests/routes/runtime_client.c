// runtime_client: device memory by every route of the CUDA runtime that it is linked with. Prints "KIND BYTES" for what
// is still held at the end.
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                   \
  do {                                                                \
    const cudaError_t error = (call);                                 \
    if (error != cudaSuccess) {                                       \
      fprintf(stderr, "runtime_client: %s: %d\n", #call, (int)error); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

enum { kMiB = 1 << 20 };

static void Reset(void) {
  void* pointer;
  CHECK(cudaMalloc(&pointer, 5 * kMiB));
  CHECK(cudaMallocHost(&pointer, 3 * kMiB));
  CHECK(cudaDeviceReset());
  printf("device 0\nhost 0\n");
}

// Each node fits alone, and the addresses of all of them are given; the launch finds that there is too little.
static int LaunchTooMuch(void) {
  struct cudaMemAllocNodeParams node = {0};
  node.poolProps.location.type = cudaMemLocationTypeDevice;
  node.bytesize = (size_t)5 << 30;
  cudaGraph_t graph;
  cudaGraphNode_t added;
  cudaGraphExec_t executable;
  CHECK(cudaGraphCreate(&graph, 0));
  for (int i = 0; i < 3; ++i) CHECK(cudaGraphAddMemAllocNode(&added, graph, NULL, 0, &node));
  CHECK(cudaGraphInstantiate(&executable, graph, 0));
  return cudaGraphLaunch(executable, 0) == cudaErrorMemoryAllocation;
}

int main(int argc, char** argv) {
  void *pointer, *freed, *pinned, *more, *imported;
  static char own[kMiB];
  if (argc == 2 && strcmp(argv[1], "reset") == 0) return Reset(), 0;
  if (argc == 2 && strcmp(argv[1], "graphs") == 0) return LaunchTooMuch();

  CHECK(cudaMalloc(&pointer, 3 * kMiB));
  CHECK(cudaMalloc(&freed, 3 * kMiB));
  CHECK(cudaFree(freed));
  size_t pitch;
  void* rows;
  CHECK(cudaMallocPitch(&rows, &pitch, 1000, 64));
  struct cudaPitchedPtr box;
  CHECK(cudaMalloc3D(&box, (struct cudaExtent){1000, 8, 8}));
  printf("device %zu\n", 3 * kMiB + pitch * 64 + box.pitch * 64);

  CHECK(cudaMallocManaged(&more, 9 * kMiB, cudaMemAttachGlobal));
  printf("managed %d\n", 9 * kMiB);

  CHECK(cudaMallocHost(&pinned, 2 * kMiB));
  CHECK(cudaHostAlloc(&pinned, 4 * kMiB, 0));
  CHECK(cudaHostAlloc(&freed, 8 * kMiB, 0));
  CHECK(cudaFreeHost(freed));
  CHECK(cudaHostRegister(own, sizeof own, 0));
  printf("host %d\nregistered %d\n", 6 * kMiB, kMiB);

  const struct cudaChannelFormatDesc format = {32, 0, 0, 0, cudaChannelFormatKindFloat};
  cudaArray_t array, solid;
  cudaMipmappedArray_t pyramid;
  CHECK(cudaMallocArray(&array, &format, 256, 256, 0));
  CHECK(cudaMalloc3DArray(&solid, &format, (struct cudaExtent){16, 16, 16}, 0));
  CHECK(cudaMallocMipmappedArray(&pyramid, &format, (struct cudaExtent){64, 64, 0}, 3, 0));
  CHECK(cudaFreeMipmappedArray(pyramid));
  printf("array %d\n", 4 * (256 * 256 + 16 * 16 * 16));

  CHECK(cudaMallocAsync(&pointer, 6 * kMiB, 0));
  CHECK(cudaMallocAsync(&freed, 2 * kMiB, 0));
  CHECK(cudaFreeAsync(freed, 0));
  struct cudaMemPoolProps properties = {0};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  cudaMemPool_t pool;
  CHECK(cudaMemPoolCreate(&pool, &properties));
  CHECK(cudaMallocFromPoolAsync(&pointer, 1 * kMiB, pool, 0));
  CHECK(cudaMemPoolTrimTo(pool, 0));
  printf("pooled %d\n", 7 * kMiB);

  cudaIpcMemHandle_t handle;
  CHECK(cudaMalloc(&pointer, kMiB));
  CHECK(cudaIpcGetMemHandle(&handle, pointer));
  CHECK(cudaFree(pointer));
  CHECK(cudaIpcOpenMemHandle(&imported, handle, cudaIpcMemLazyEnablePeerAccess));
  CHECK(cudaIpcCloseMemHandle(imported));
  struct cudaExternalMemoryHandleDesc outside = {0};
  outside.size = 4 * kMiB;
  struct cudaExternalMemoryBufferDesc part = {0};
  part.size = 4 * kMiB;
  cudaExternalMemory_t external;
  CHECK(cudaImportExternalMemory(&external, &outside));
  CHECK(cudaExternalMemoryGetMappedBuffer(&imported, external, &part));
  printf("imported %d\n", 4 * kMiB);

  // What one node gives back serves the next; what is left allocated stays when the pool of graphs is trimmed.
  struct cudaMemAllocNodeParams node = {0};
  node.poolProps.location.type = cudaMemLocationTypeDevice;
  cudaGraph_t graph;
  cudaGraphNode_t added;
  cudaGraphExec_t executable;
  CHECK(cudaGraphCreate(&graph, 0));
  node.bytesize = 48 * kMiB;
  CHECK(cudaGraphAddMemAllocNode(&added, graph, NULL, 0, &node));
  CHECK(cudaGraphAddMemFreeNode(&added, graph, NULL, 0, node.dptr));
  node.bytesize = 32 * kMiB;
  CHECK(cudaGraphAddMemAllocNode(&added, graph, NULL, 0, &node));
  CHECK(cudaGraphInstantiate(&executable, graph, 0));
  CHECK(cudaGraphLaunch(executable, 0));
  CHECK(cudaDeviceGraphMemTrim(0));
  printf("graph %d\nphysical %d\n", 80 * kMiB, 32 * kMiB);
  return 0;
}
