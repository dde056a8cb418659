#include "interpose/hooks/real.h"

#include <dlfcn.h>

// Where this library begins and ends, defined by the linker.
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start, _end;

namespace oomtrace {

constinit std::atomic<void*> real_functions[static_cast<size_t>(HookId::kCount)] = {};

namespace {

constexpr HookEntry kHooks[] = {
#define OOMTRACE_HOOK(id, symbol, library) {#symbol, HookLibrary::library},
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
};

// Sonames by library, newest first; torch's never changed from 2.0 to 2.15.
constexpr const char* kC10Names[] = {"libc10.so", nullptr};
constexpr const char* kTorchCpuNames[] = {"libtorch_cpu.so", nullptr};
constexpr const char* kTorchCudaNames[] = {"libtorch_cuda.so", nullptr};
// Its pluggable allocator moved from the Python extension to the library with 2.5.
constexpr const char* kTorchPluggableNames[] = {"libtorch_cuda.so", "libtorch_python.so", nullptr};
constexpr const char* kLibcNames[] = {"libc.so.6", nullptr};
constexpr const char* kCudaNames[] = {"libcuda.so.1", nullptr};
constexpr const char* kCuptiNames[] = {"libcupti.so.13", "libcupti.so.12", nullptr};
// Every library that marks ranges carries NVTX in itself: it calls us, and there is nothing to call on to.
constexpr const char* kNvtxNames[] = {"(NVTX)", nullptr};
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
    case HookLibrary::kTorchPluggable:
      return kTorchPluggableNames;
    case HookLibrary::kCudart:
      return kCudartNames;
    case HookLibrary::kCuda:
      return kCudaNames;
    case HookLibrary::kLibc:
      return kLibcNames;
    case HookLibrary::kCupti:
      return kCuptiNames;
    case HookLibrary::kNvtx:
      return kNvtxNames;
  }
  return nullptr;
}

bool SameLibrary(const void* a, const void* b) {
  Dl_info first, second;
  return dladdr(a, &first) != 0 && dladdr(b, &second) != 0 && first.dli_fbase == second.dli_fbase;
}

void* Lookup(void* handle, const char* symbol) {
  DlsymFunction* find = RealDlsym();
  return find != nullptr ? find(handle, symbol) : nullptr;
}

// dlsym without an error left behind for the application's next dlerror().
void* LookupQuietly(void* handle, const char* symbol) {
  void* found = Lookup(handle, symbol);
  if (found == nullptr) dlerror();
  return found;
}

void* FindThroughCaller(const char* symbol, const void* caller) {
  Dl_info info;
  if (caller == nullptr || dladdr(caller, &info) == 0 || info.dli_fname == nullptr) return nullptr;
  void* library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  return library != nullptr ? LookupQuietly(library, symbol) : nullptr;
}

}  // namespace

// Not by dladdr, which looks at every symbol of the function's library: milliseconds for one of PyTorch's.
bool IsOurs(const void* function) { return function >= &__ehdr_start && function < &_end; }

std::string_view ApiName(std::string_view symbol) {
  const size_t mark = symbol.rfind('_');
  if (mark == std::string_view::npos || symbol[0] != 'c') return symbol;
  const std::string_view suffix(symbol.data() + mark, symbol.size() - mark);
  const bool variant = suffix == "_v2" || suffix == "_v3" || suffix == "_v4" || suffix == "_ptsz" || suffix == "_ptds";
  return variant ? std::string_view(symbol.data(), mark) : symbol;
}

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
  if (void* next = LookupQuietly(RTLD_NEXT, symbol)) return next;
  for (const char* const* name = Sonames(library); *name != nullptr; ++name) {
    void* handle = dlopen(*name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    if (void* found = LookupQuietly(handle, symbol)) return found;
  }
  return nullptr;
}

void* FindReal(HookId id, const void* caller) {
  std::atomic<void*>& slot = real_functions[static_cast<size_t>(id)];
  void* found = slot.load(std::memory_order_acquire);
  if (found != nullptr) return found;
  const HookEntry& hook = HookOf(id);
  found = FindIn(hook.library, hook.symbol);
  if (found == nullptr || IsOurs(found)) found = FindThroughCaller(hook.symbol, caller);
  if (found == nullptr || IsOurs(found)) return nullptr;
  slot.store(found, std::memory_order_release);
  return found;
}

bool AdoptReal(HookId id, void* found) {
  void* known = FindReal(id, nullptr);
  if (known == nullptr && !IsOurs(found)) {
    std::atomic<void*>& slot = real_functions[static_cast<size_t>(id)];
    if (slot.compare_exchange_strong(known, found, std::memory_order_acq_rel)) return true;
  }
  return known == found || (known != nullptr && SameLibrary(known, found));
}

}  // namespace oomtrace
