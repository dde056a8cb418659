// From a function's name to our hook of it: for whoever hands out the driver's functions by name.
#pragma once

#include <cstdint>

#include "interpose/hooks/real.h"

namespace oomtrace {

// Our function for a hook.
void* OurFunction(HookId id);

// The hook of the CUDA driver or runtime that is exported under exactly this name; HookId::kCount where there is none.
// No lock, no allocation.
HookId FindCudaHook(const char* symbol);

struct EntryChoice {
  void* ours = nullptr;     // to be given to the caller instead of `found`
  bool known_name = false;  // we hook a function of this name, though perhaps not this version of it
};

// cuGetProcAddress(name, version, flags) was answered with `found`: ours is the same version of the function, or none.
// A version newer than the CUDA that this recorder was built with is taken only where `found` is the very function
// that we know.
EntryChoice ChooseEntry(const char* name, int version, uint64_t flags, void* found);

}  // namespace oomtrace
