// The functions behind ours.
//
// RTLD_NEXT comes first: another preloaded library (the simulated GPU, a second tool) must be called and not skipped.
// It finds nothing for PyTorch, whose libraries Python loads RTLD_LOCAL: then the library is asked for by its soname
// (RTLD_NOLOAD), and last the library that called us.
#pragma once

#include <cstdint>

namespace oomtrace {

enum class HookId : uint32_t {
#define OOMTRACE_HOOK(id, symbol, library) k##id,
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
  kCount
};

enum class HookLibrary : uint8_t { kC10, kTorchCpu, kTorchCuda, kCudart };

struct HookEntry {
  const char* symbol;
  HookLibrary library;
};

const HookEntry& HookOf(HookId id);
const char* LibraryName(HookLibrary library);  // "libc10.so"
bool LibraryLoaded(HookLibrary library);

// The real function, looked up once; nullptr where there is none. `caller` is the return address of the hook.
// Takes the dynamic linker's lock at the first call for each function.
void* FindReal(HookId id, const void* caller);

template <typename Function>
Function* Real(HookId id, const void* caller) {
  return reinterpret_cast<Function*>(FindReal(id, caller));
}

// A function that is not hooked, in a library that is loaded.
void* FindIn(HookLibrary library, const char* symbol);

}  // namespace oomtrace

#define OOMTRACE_EXPORT extern "C" __attribute__((visibility("default")))
