// The functions behind ours.
//
// RTLD_NEXT comes first: another preloaded library (the simulated GPU, a second tool) must be called and not skipped.
// It finds nothing for PyTorch, whose libraries Python loads RTLD_LOCAL: then the library is asked for by its soname
// (RTLD_NOLOAD), and last the library that called us.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace oomtrace {

enum class HookId : uint32_t {
#define OOMTRACE_HOOK(id, symbol, library) k##id,
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
  kCount
};

// PyTorch's come before CUDA's.
enum class HookLibrary : uint8_t { kC10, kTorchCpu, kTorchCuda, kTorchPluggable, kCudart, kCuda, kLibc, kCupti, kNvtx };

struct HookEntry {
  const char* symbol;
  HookLibrary library;
};

const HookEntry& HookOf(HookId id);
// The function's name without what marks a variant: "cuMemAlloc" for cuMemAlloc_v2, as cuGetProcAddress knows it.
std::string_view ApiName(std::string_view symbol);
const char* LibraryName(HookLibrary library);  // "libc10.so"
bool LibraryLoaded(HookLibrary library);

extern std::atomic<void*> real_functions[static_cast<size_t>(HookId::kCount)];

// The real function if it is known already, else nullptr. Takes no lock.
inline void* KnownReal(HookId id) { return real_functions[static_cast<size_t>(id)].load(std::memory_order_acquire); }

// The real function, looked up once; nullptr where there is none. `caller` is the return address of the hook.
// Takes the dynamic linker's lock at the first call for each function.
void* FindReal(HookId id, const void* caller);

template <typename Function>
Function* Real(HookId id, const void* caller) {
  void* known = KnownReal(id);
  return reinterpret_cast<Function*>(known != nullptr ? known : FindReal(id, caller));
}

// For a real function that was found otherwise (cuGetProcAddress's answer): true where it is the one that calls go to
// from now on, or lies in the same library as that one. Only then may the caller be given our function for it.
bool AdoptReal(HookId id, void* found);
bool IsOurs(const void* function);

// A function that is not hooked, in a library that is loaded.
void* FindIn(HookLibrary library, const char* symbol);

// dlsym of the C library, whoever stands in front of it (found by dlvsym, never through the public name). nullptr where
// it cannot be found.
using DlsymFunction = void*(void* handle, const char* symbol);
DlsymFunction* RealDlsym();
// Whether our dlsym looks at names at all (OOMTRACE_DLSYM=0: it does not).
bool DlsymHooked();

}  // namespace oomtrace

#define OOMTRACE_EXPORT extern "C" __attribute__((visibility("default")))
// What a training step calls a thousand times: hot functions lie together, on a few pages of the library.
#define OOMTRACE_HOT_EXPORT OOMTRACE_EXPORT __attribute__((hot))
