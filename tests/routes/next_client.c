// Asks a preloaded library who is next, and checks that dlsym and dlerror behave as without the recorder.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  int (*who)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "WhoIsNext");
  int (*prefixed)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "cuMemAlloc_v2_next_is_own");
  printf("next %d %d\n", who != NULL ? who() : -1, prefixed != NULL ? prefixed() : -1);

  // An error is told once; a lookup that succeeds leaves none behind.
  void* math = dlopen("libm.so.6", RTLD_NOW);
  dlerror();
  printf("missing %d", dlsym(math, "cuMemAlloc_v2_not_there") != NULL);
  const char* error = dlerror();
  printf(" %d", error != NULL && strstr(error, "cuMemAlloc_v2_not_there") != NULL);
  printf(" %d\n", dlerror() != NULL);
  printf("not in it %d\n", dlsym(math, "cuMemAlloc_v2") != NULL);
  dlerror();
  printf("found %d", dlsym(math, "cos") != NULL);
  printf(" %d\n", dlerror() != NULL);

  // Each version of dlsym that the C library exports is its own.
  void* const first = dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.2.5");
  void* const second = dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.34");
  Dl_info info = {0};
  printf("versions %d\n", (first == NULL || (dladdr(first, &info) && strstr(info.dli_fname, "libc.so"))) &&
                              (second == NULL || (dladdr(second, &info) && strstr(info.dli_fname, "libc.so"))));
  return 0;
}
