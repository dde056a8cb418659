// Stands for libcuda when the test programs are linked: names only.
int cuInit(void) { return 0; }
int cuDeviceGet(void) { return 0; }
int cuDevicePrimaryCtxRetain(void) { return 0; }
int cuCtxSetCurrent(void) { return 0; }
int cuMemAlloc_v2(void) { return 0; }
int cuMemAllocAsync(void) { return 0; }
int cuMemFree_v2(void) { return 0; }
int cuMemFreeAsync(void) { return 0; }
int cuMemGetInfo_v2(void) { return 0; }
int cuDeviceGetDefaultMemPool(void) { return 0; }
int cuMemPoolSetAttribute(void) { return 0; }
