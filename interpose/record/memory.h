// Anonymous zeroed memory outside the application's malloc.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace oomtrace {

// nullptr when there is none. Untouched pages cost nothing.
inline void* MapMemory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace oomtrace
