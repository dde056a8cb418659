// A preloaded library that looks for the next definition of its own function, as LLVM's OpenMP runtime does with
// ompt_start_tool: it must not find itself.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

int WhoIsNext(void) {
  int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, "WhoIsNext");
  if (next == WhoIsNext) return 1;
  return next == NULL ? 0 : next();
}

int cuMemAlloc_v2_next_is_own(void) {
  return dlsym(RTLD_NEXT, "cuMemAlloc_v2_next_is_own") == (void*)cuMemAlloc_v2_next_is_own;
}
