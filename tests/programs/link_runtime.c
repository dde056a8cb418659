// Stands for libcudart when the test programs are linked: names only.
int cudaMalloc(void) { return 0; }
int cudaMallocAsync(void) { return 0; }
int cudaFree(void) { return 0; }
int cudaFreeAsync(void) { return 0; }
int cudaMemGetInfo(void) { return 0; }
int cudaDeviceGetDefaultMemPool(void) { return 0; }
int cudaMemPoolSetAttribute(void) { return 0; }
