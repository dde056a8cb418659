// driver_client DOOR ROUTE: takes device memory by one route of the CUDA driver, whose functions it gets through one
// door, as a statically linked CUDA runtime, ctypes and plain programs do. Prints "NAME BYTES" for what is still held
// at the end, and "free BYTES" before and after. Ends with 1 where a call fails that should not.
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef cuGetProcAddress

static const char* door;
static void* driver;
typedef CUresult (*FirstAbi)(const char*, void**, int, cuuint64_t);
typedef CUresult (*SecondAbi)(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);

static void Fail(const char* what, int result) {
  fprintf(stderr, "driver_client: %s: %d\n", what, result);
  exit(1);
}

// `exported` is the symbol, `name` what cuGetProcAddress calls it.
static void* Get(const char* exported, const char* name) {
  void* function = NULL;
  if (strcmp(door, "dlsym") == 0) {
    function = dlsym(driver, exported);
  } else if (strcmp(door, "first_abi") == 0) {
    ((FirstAbi)dlsym(driver, "cuGetProcAddress"))(name, &function, CUDA_VERSION, 0);
  } else {  // second_abi0, second_abi1, second_abi2: with those flags; asked for by the question itself
    const cuuint64_t flags = (cuuint64_t)(door[strlen(door) - 1] - '0');
    CUdriverProcAddressQueryResult status = 77;
    SecondAbi ask = (SecondAbi)dlsym(driver, "cuGetProcAddress_v2");
    SecondAbi again = NULL;
    if (ask("cuGetProcAddress", (void**)&again, 12000, 0, NULL) != CUDA_SUCCESS) Fail("cuGetProcAddress", 0);
    again(name, &function, CUDA_VERSION, flags, &status);
    if (status != CU_GET_PROC_ADDRESS_SUCCESS) Fail("no status for a function that there is", (int)status);
    if (again("cuNoSuchFunction", (void**)&ask, CUDA_VERSION, flags, &status) == CUDA_SUCCESS ||
        status != CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
      Fail("found a function that there is not", (int)status);
  }
  if (function == NULL) Fail(name, 0);
  return function;
}

#define CALL(name, exported, type, ...)                               \
  do {                                                                \
    const CUresult result = ((type)Get(exported, name))(__VA_ARGS__); \
    if (result != CUDA_SUCCESS) Fail(name, (int)result);              \
  } while (0)

enum { kMiB = 1 << 20 };

static void Memory(void) {
  CUdeviceptr kept = 0, freed = 0;
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &kept, 3 * kMiB);
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &freed, 5 * kMiB);
  CALL("cuMemFree", "cuMemFree_v2", CUresult(*)(CUdeviceptr), freed);
  size_t pitch = 0;
  CUdeviceptr rows = 0, moving = 0;
  CALL("cuMemAllocPitch", "cuMemAllocPitch_v2", CUresult(*)(CUdeviceptr*, size_t*, size_t, size_t, unsigned int), &rows,
       &pitch, 1000, 2048, 4u);
  CALL("cuMemAllocManaged", "cuMemAllocManaged", CUresult(*)(CUdeviceptr*, size_t, unsigned int), &moving, 7 * kMiB,
       1u);
  printf("device %zu\nmanaged %d\n", 3 * kMiB + pitch * 2048, 7 * kMiB);
}

static void Pooled(void) {
  CUdeviceptr kept = 0, freed = 0, own = 0;
  const CUstream stream = (CUstream)0x2;  // the per-thread default stream's own name
  CALL("cuMemAllocAsync", "cuMemAllocAsync", CUresult(*)(CUdeviceptr*, size_t, CUstream), &kept, 6 * kMiB, stream);
  CALL("cuMemAllocAsync", "cuMemAllocAsync", CUresult(*)(CUdeviceptr*, size_t, CUstream), &freed, 4 * kMiB, stream);
  CALL("cuMemFreeAsync", "cuMemFreeAsync", CUresult(*)(CUdeviceptr, CUstream), freed, stream);
  CUmemPoolProps properties = {0};
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemoryPool pool;
  CALL("cuMemPoolCreate", "cuMemPoolCreate", CUresult(*)(CUmemoryPool*, const CUmemPoolProps*), &pool, &properties);
  CALL("cuMemAllocFromPoolAsync", "cuMemAllocFromPoolAsync", CUresult(*)(CUdeviceptr*, size_t, CUmemoryPool, CUstream),
       &own, 2 * kMiB, pool, stream);
  CALL("cuMemPoolTrimTo", "cuMemPoolTrimTo", CUresult(*)(CUmemoryPool, size_t), pool, 0);
  printf("pooled %d\n", 8 * kMiB);
}

static void Host(void) {
  void *a, *b, *c;
  static char own[kMiB];
  CALL("cuMemAllocHost", "cuMemAllocHost_v2", CUresult(*)(void**, size_t), &a, 2 * kMiB);
  CALL("cuMemHostAlloc", "cuMemHostAlloc", CUresult(*)(void**, size_t, unsigned int), &b, 3 * kMiB, 0u);
  CALL("cuMemHostAlloc", "cuMemHostAlloc", CUresult(*)(void**, size_t, unsigned int), &c, 9 * kMiB, 0u);
  CALL("cuMemFreeHost", "cuMemFreeHost", CUresult(*)(void*), c);
  CALL("cuMemHostRegister", "cuMemHostRegister_v2", CUresult(*)(void*, size_t, unsigned int), own, sizeof own, 0u);
  printf("host %d\nregistered %d\n", 5 * kMiB, kMiB);
}

// One handle mapped twice, released while it is mapped; another retained, released and unmapped, which is gone.
static void Virtual(void) {
  typedef CUresult (*Create)(CUmemGenericAllocationHandle*, size_t, const CUmemAllocationProp*, unsigned long long);
  typedef CUresult (*Map)(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long);
  typedef CUresult (*Release)(CUmemGenericAllocationHandle);
  CUmemAllocationProp properties = {0};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemGenericAllocationHandle twice, gone, shared, same, held;
  CUdeviceptr range = 0;
  const size_t size = 4 * kMiB;
  CALL("cuMemAddressReserve", "cuMemAddressReserve",
       CUresult(*)(CUdeviceptr*, size_t, size_t, CUdeviceptr, unsigned long long), &range, 8 * size, 0, 0, 0ull);
  CALL("cuMemCreate", "cuMemCreate", Create, &twice, size, &properties, 0ull);
  CALL("cuMemMap", "cuMemMap", Map, range, size, 0, twice, 0ull);
  CALL("cuMemMap", "cuMemMap", Map, range + size, size, 0, twice, 0ull);
  CALL("cuMemRelease", "cuMemRelease", Release, twice);
  CALL("cuMemCreate", "cuMemCreate", Create, &gone, size, &properties, 0ull);
  CALL("cuMemMap", "cuMemMap", Map, range + 2 * size, size, 0, gone, 0ull);
  CALL("cuMemRetainAllocationHandle", "cuMemRetainAllocationHandle", CUresult(*)(CUmemGenericAllocationHandle*, void*),
       &same, (void*)(range + 2 * size));
  CALL("cuMemRelease", "cuMemRelease", Release, gone);
  CALL("cuMemUnmap", "cuMemUnmap", CUresult(*)(CUdeviceptr, size_t), range + 2 * size, size);
  CALL("cuMemRelease", "cuMemRelease", Release, same);
  CALL("cuMemCreate", "cuMemCreate", Create, &held, 3 * size, &properties, 0ull);
  int exported = 0;
  CALL("cuMemExportToShareableHandle", "cuMemExportToShareableHandle",
       CUresult(*)(void*, CUmemGenericAllocationHandle, CUmemAllocationHandleType, unsigned long long), &exported, held,
       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0ull);
  CALL("cuMemImportFromShareableHandle", "cuMemImportFromShareableHandle",
       CUresult(*)(CUmemGenericAllocationHandle*, void*, CUmemAllocationHandleType), &shared, (void*)(size_t)exported,
       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  CALL("cuMemMap", "cuMemMap", Map, range + 4 * size, 3 * size, 0, shared, 0ull);
  CUmulticastObjectProp together = {0};
  together.numDevices = 1;
  together.size = size;
  CUmemGenericAllocationHandle multicast;
  CALL("cuMulticastCreate", "cuMulticastCreate",
       CUresult(*)(CUmemGenericAllocationHandle*, const CUmulticastObjectProp*), &multicast, &together);
  CALL("cuMemMap", "cuMemMap", Map, range + 7 * size, size, 0, multicast, 0ull);
  printf("physical %zu\n", 4 * size);
}

static void Arrays(void) {
  CUDA_ARRAY_DESCRIPTOR flat = {1024, 512, CU_AD_FORMAT_FLOAT, 4};
  CUDA_ARRAY3D_DESCRIPTOR deep = {64, 64, 64, CU_AD_FORMAT_HALF, 2, 0};
  CUarray kept, gone, solid;
  CUmipmappedArray pyramid;
  CALL("cuArrayCreate", "cuArrayCreate_v2", CUresult(*)(CUarray*, const CUDA_ARRAY_DESCRIPTOR*), &kept, &flat);
  CALL("cuArrayCreate", "cuArrayCreate_v2", CUresult(*)(CUarray*, const CUDA_ARRAY_DESCRIPTOR*), &gone, &flat);
  CALL("cuArrayDestroy", "cuArrayDestroy", CUresult(*)(CUarray), gone);
  CALL("cuArray3DCreate", "cuArray3DCreate_v2", CUresult(*)(CUarray*, const CUDA_ARRAY3D_DESCRIPTOR*), &solid, &deep);
  CALL("cuMipmappedArrayCreate", "cuMipmappedArrayCreate",
       CUresult(*)(CUmipmappedArray*, const CUDA_ARRAY3D_DESCRIPTOR*, unsigned int), &pyramid, &deep, 2u);
  printf("array %d\n", 1024 * 512 * 16 + 2 * (64 * 64 * 64 * 4) + 32 * 32 * 32 * 4);
}

static void Shared(void) {
  CUdeviceptr own = 0, theirs = 0, closed = 0, buffer = 0;
  CUipcMemHandle handle;
  typedef CUresult (*Open)(CUdeviceptr*, CUipcMemHandle, unsigned int);
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &own, 2 * kMiB);
  CALL("cuIpcGetMemHandle", "cuIpcGetMemHandle", CUresult(*)(CUipcMemHandle*, CUdeviceptr), &handle, own);
  CALL("cuIpcOpenMemHandle", "cuIpcOpenMemHandle_v2", Open, &theirs, handle, 1u);
  CALL("cuIpcOpenMemHandle", "cuIpcOpenMemHandle_v2", Open, &closed, handle, 1u);
  CALL("cuIpcCloseMemHandle", "cuIpcCloseMemHandle", CUresult(*)(CUdeviceptr), closed);
  CUDA_EXTERNAL_MEMORY_HANDLE_DESC outside = {0};
  outside.size = 8 * kMiB;
  CUDA_EXTERNAL_MEMORY_BUFFER_DESC part = {0};
  part.size = 4 * kMiB;
  CUexternalMemory memory;
  CALL("cuImportExternalMemory", "cuImportExternalMemory",
       CUresult(*)(CUexternalMemory*, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC*), &memory, &outside);
  CALL("cuExternalMemoryGetMappedBuffer", "cuExternalMemoryGetMappedBuffer",
       CUresult(*)(CUdeviceptr*, CUexternalMemory, const CUDA_EXTERNAL_MEMORY_BUFFER_DESC*), &buffer, memory, &part);
  printf("device %d\nimported %d\n", 2 * kMiB, 4 * kMiB);
}

static void Graph(void) {
  CUDA_MEM_ALLOC_NODE_PARAMS parameters = {0};
  parameters.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  parameters.bytesize = 16 * kMiB;
  CUgraph graph;
  CUgraphNode node;
  CUgraphExec executable;
  CALL("cuGraphCreate", "cuGraphCreate", CUresult(*)(CUgraph*, unsigned int), &graph, 0u);
  CALL("cuGraphAddMemAllocNode", "cuGraphAddMemAllocNode",
       CUresult(*)(CUgraphNode*, CUgraph, const CUgraphNode*, size_t, CUDA_MEM_ALLOC_NODE_PARAMS*), &node, graph, NULL,
       0, &parameters);
  CALL("cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags",
       CUresult(*)(CUgraphExec*, CUgraph, unsigned long long), &executable, graph, 0ull);
  CALL("cuGraphLaunch", "cuGraphLaunch", CUresult(*)(CUgraphExec, CUstream), executable, (CUstream)0x2);
  printf("graph %d\nphysical %d\n", 16 * kMiB, 16 * kMiB);
}

// Everything that was allocated in a context goes with it.
static void Context(void) {
  typedef CUresult (*Create)(CUcontext*, CUctxCreateParams*, unsigned int, CUdevice);
  CUcontext own;
  CUdeviceptr inside;
  CALL("cuCtxCreate", "cuCtxCreate_v4", Create, &own, NULL, 0u, 0);
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &inside, 12 * kMiB);
  CALL("cuCtxDestroy", "cuCtxDestroy_v2", CUresult(*)(CUcontext), own);
  printf("device 0\n");
}

static void Primary(void) {
  CUcontext twice;
  CUdeviceptr inside;
  CALL("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", CUresult(*)(CUcontext*, CUdevice), &twice, 0);
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &inside, 12 * kMiB);
  CALL("cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2", CUresult(*)(CUdevice), 0);
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &inside,
       5 * kMiB);  // the first is there still
  CALL("cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2", CUresult(*)(CUdevice), 0);
  printf("device 0\n");
}

// What hosts do wrong: no out-parameter, frees of what was never there, refusals. The answers are the driver's.
static void Wrong(void) {
  CUdeviceptr address = 0;
  CUresult (*allocate)(CUdeviceptr*, size_t) = (CUresult(*)(CUdeviceptr*, size_t))Get("cuMemAlloc_v2", "cuMemAlloc");
  CUresult (*release)(CUdeviceptr) = (CUresult(*)(CUdeviceptr))Get("cuMemFree_v2", "cuMemFree");
  CUresult (*unmap)(CUdeviceptr, size_t) = (CUresult(*)(CUdeviceptr, size_t))Get("cuMemUnmap", "cuMemUnmap");
  printf("no bytes: %d\n", (int)allocate(&address, 0));
  printf("too many: %d\n", (int)allocate(&address, ~(size_t)0 >> 1));
  printf("unknown free: %d\n", (int)release(0x123456789000ull));
  printf("free of nothing: %d\n", (int)release(0));
  size_t total = 0;
  CUresult (*ask)(size_t*, size_t*) = (CUresult(*)(size_t*, size_t*))Get("cuMemGetInfo_v2", "cuMemGetInfo");
  printf("no place for the free bytes: %d %d\n", (int)ask(NULL, &total), total != 0);
  printf("unknown unmap: %d\n", (int)unmap(0x123456789000ull, 4096));
  printf("device 0\n");
}

static void PrivateTable(void) {
  const void* table = NULL;
  const CUuuid heap = {{0x19, 0x5b, (char)0xcb, (char)0xf4, (char)0xd6, 0x7d, 0x02, 0x4a, (char)0xac, (char)0xc5, 0x1d,
                        0x29, (char)0xce, (char)0xa6, 0x31, (char)0xae}};
  for (int i = 0; i < 3; ++i)
    CALL("cuGetExportTable", "cuGetExportTable", CUresult(*)(const void**, const CUuuid*), &table, &heap);
  Dl_info info;
  if (dladdr(table, &info) == 0 || strstr(info.dli_fname, "simgpu") == NULL) Fail("the table is not the driver's", 0);
  CUdeviceptr address;
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &address, kMiB);
  printf("device %d\n", kMiB);
}

static int IsRecorders(void* function) {
  Dl_info info;
  return dladdr(function, &info) != 0 && strstr(info.dli_fname, "liboomtrace") != NULL;
}

// Which variant is handed out depends on the version and the flags; one that no hook speaks is handed out as it is.
static void Versions(void) {
  SecondAbi ask = (SecondAbi)dlsym(driver, "cuGetProcAddress_v2");
  void *legacy = NULL, *per_thread = NULL, *narrow = NULL, *wide = NULL, *first = NULL, *second = NULL;
  ask("cuMemAllocAsync", &legacy, CUDA_VERSION, CU_GET_PROC_ADDRESS_LEGACY_STREAM, NULL);
  ask("cuMemAllocAsync", &per_thread, CUDA_VERSION, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, NULL);
  ask("cuMemAlloc", &narrow, 2000, 0, NULL);
  ask("cuMemAlloc", &wide, 3020, 0, NULL);
  ask("cuGetProcAddress", &first, 11030, 0, NULL);
  ask("cuGetProcAddress", &second, 12000, 0, NULL);
  printf("per thread %d %d %d\n", legacy != per_thread, IsRecorders(legacy), IsRecorders(per_thread));
  printf("narrow %d wide %d\n", IsRecorders(narrow), IsRecorders(wide));
  printf("questions %d %d\n", first == dlsym(driver, "cuGetProcAddress"), second == (void*)ask);
  CUdeviceptr address;
  CALL("cuMemAlloc", "cuMemAlloc_v2", CUresult(*)(CUdeviceptr*, size_t), &address, kMiB);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  door = argv[1];
  driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == NULL) Fail(dlerror(), 0);
  const struct {
    const char* name;
    void (*run)(void);
  } routes[] = {{"memory", Memory},   {"pooled", Pooled}, {"host", Host},          {"virtual", Virtual},
                {"arrays", Arrays},   {"shared", Shared}, {"graph", Graph},        {"context", Context},
                {"primary", Primary}, {"wrong", Wrong},   {"table", PrivateTable}, {"versions", Versions}};
  CUcontext context;
  CALL("cuInit", "cuInit", CUresult(*)(unsigned int), 0u);
  CALL("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", CUresult(*)(CUcontext*, CUdevice), &context, 0);
  CALL("cuCtxSetCurrent", "cuCtxSetCurrent", CUresult(*)(CUcontext), context);
  for (size_t i = 0; i < sizeof routes / sizeof *routes; ++i)
    if (strcmp(routes[i].name, argv[2]) == 0) return routes[i].run(), 0;
  return 2;
}
