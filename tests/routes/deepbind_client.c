// deepbind_client LIBRARY: loads it with RTLD_DEEPBIND, and lets it take 3 MiB; takes 1 MiB itself through the driver.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
  if (driver == NULL || library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
  int (*take)(size_t) = (int (*)(size_t))dlsym(library, "TakeMemory");
  int (*allocate)(unsigned long long*, size_t) = (int (*)(unsigned long long*, size_t))dlsym(driver, "cuMemAlloc_v2");
  unsigned long long address;
  const int result = take(3 << 20);
  return result != 0 ? result : allocate(&address, 1 << 20);
}
