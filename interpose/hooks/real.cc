#include "interpose/hooks/real.h"

#include <dlfcn.h>

#include <atomic>

namespace oomtrace {
namespace {

constexpr HookEntry kHooks[] = {
#define OOMTRACE_HOOK(id, symbol, library) {#symbol, HookLibrary::library},
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
};

std::atomic<void*> real_functions[static_cast<size_t>(HookId::kCount)];

// Sonames by library, newest first; torch's never changed from 2.0 to 2.15.
constexpr const char* kC10Names[] = {"libc10.so", nullptr};
constexpr const char* kTorchCpuNames[] = {"libtorch_cpu.so", nullptr};
constexpr const char* kTorchCudaNames[] = {"libtorch_cuda.so", nullptr};
constexpr const char* kCudartNames[] = {"libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so",
                                        nullptr};

const char* const* Sonames(HookLibrary library) {
  switch (library) {
    case HookLibrary::kC10:
      return kC10Names;
    case HookLibrary::kTorchCpu:
      return kTorchCpuNames;
    case HookLibrary::kTorchCuda:
      return kTorchCudaNames;
    case HookLibrary::kCudart:
      return kCudartNames;
  }
  return nullptr;
}

bool IsOurs(const void* function) {
  Dl_info here, there;
  return dladdr(reinterpret_cast<const void*>(&HookOf), &here) != 0 && dladdr(function, &there) != 0 &&
         here.dli_fbase == there.dli_fbase;
}

void* FindThroughCaller(const char* symbol, const void* caller) {
  Dl_info info;
  if (caller == nullptr || dladdr(caller, &info) == 0 || info.dli_fname == nullptr) return nullptr;
  void* library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  return library != nullptr ? dlsym(library, symbol) : nullptr;
}

}  // namespace

const HookEntry& HookOf(HookId id) { return kHooks[static_cast<size_t>(id)]; }

const char* LibraryName(HookLibrary library) {
  return library == HookLibrary::kCudart ? "libcudart.so" : Sonames(library)[0];
}

bool LibraryLoaded(HookLibrary library) {
  for (const char* const* name = Sonames(library); *name != nullptr; ++name)
    if (dlopen(*name, RTLD_LAZY | RTLD_NOLOAD) != nullptr) return true;
  return false;
}

void* FindIn(HookLibrary library, const char* symbol) {
  if (void* next = dlsym(RTLD_NEXT, symbol)) return next;
  for (const char* const* name = Sonames(library); *name != nullptr; ++name) {
    void* handle = dlopen(*name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    if (void* found = dlsym(handle, symbol)) return found;
  }
  return nullptr;
}

void* FindReal(HookId id, const void* caller) {
  std::atomic<void*>& slot = real_functions[static_cast<size_t>(id)];
  void* found = slot.load(std::memory_order_acquire);
  if (found != nullptr) [[likely]]
    return found;
  const HookEntry& hook = HookOf(id);
  found = FindIn(hook.library, hook.symbol);
  if (found == nullptr || IsOurs(found)) found = FindThroughCaller(hook.symbol, caller);
  if (found == nullptr || IsOurs(found)) return nullptr;
  slot.store(found, std::memory_order_release);
  return found;
}

}  // namespace oomtrace
