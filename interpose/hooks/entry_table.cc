#include "interpose/hooks/entry_table.h"

#include <cuda.h>

#include <algorithm>
#include <array>
#include <string_view>

#undef cuGetProcAddress  // cuda.h makes it the second version; here both are meant by their names

// Our functions under names of their own: the headers declare them with types that do not matter here.
#define OOMTRACE_HOOK(id, symbol, library) extern "C" void OomtraceHook##id() __asm__(#symbol);
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK

namespace oomtrace {
namespace {

using Function = void();

constexpr Function* kOurs[] = {
#define OOMTRACE_HOOK(id, symbol, library) OomtraceHook##id,
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
};

struct Symbol {
  std::string_view name;
  HookId id;
};

constexpr bool IsCuda(HookLibrary library) { return library == HookLibrary::kCudart || library == HookLibrary::kCuda; }

constexpr size_t kCudaHooks = 0
#define OOMTRACE_HOOK(id, symbol, library) +(IsCuda(HookLibrary::library) ? 1 : 0)
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
    ;

constexpr std::array<Symbol, kCudaHooks> SortedSymbols() {
  constexpr Symbol all[] = {
#define OOMTRACE_HOOK(id, symbol, library) {IsCuda(HookLibrary::library) ? #symbol : "", HookId::k##id},
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
  };
  std::array<Symbol, kCudaHooks> sorted = {};
  size_t count = 0;
  for (const Symbol& symbol : all)
    if (!symbol.name.empty()) sorted[count++] = symbol;
  std::sort(sorted.begin(), sorted.end(), [](const Symbol& a, const Symbol& b) { return a.name < b.name; });
  return sorted;
}
constexpr std::array<Symbol, kCudaHooks> kSymbols = SortedSymbols();

struct Entry {
  std::string_view symbol;
  int since;
  HookId id;
};
constexpr Entry kEntries[] = {
#define OOMTRACE_HOOK(id, symbol, library)
#define OOMTRACE_DRIVER_HOOK(id, symbol, since) {#symbol, since, HookId::k##id},
#include "interpose/hooks/hooks.def"
#undef OOMTRACE_HOOK
};

bool IsPerThread(std::string_view symbol) { return symbol.ends_with("_ptsz") || symbol.ends_with("_ptds"); }

}  // namespace

void* OurFunction(HookId id) { return reinterpret_cast<void*>(kOurs[static_cast<size_t>(id)]); }

HookId FindCudaHook(const char* symbol) {
  const std::string_view name(symbol);
  const auto* found = std::lower_bound(kSymbols.begin(), kSymbols.end(), name,
                                       [](const Symbol& a, std::string_view b) { return a.name < b; });
  return found != kSymbols.end() && found->name == name ? found->id : HookId::kCount;
}

EntryChoice ChooseEntry(const char* name, int version, uint64_t flags, void* found) {
  EntryChoice choice;
  const bool per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
  const Entry* best = nullptr;
  for (const Entry& entry : kEntries) {
    if (ApiName(entry.symbol) != name) continue;
    choice.known_name = true;
    if (entry.since > version || (IsPerThread(entry.symbol) && !per_thread)) continue;
    // Of one version the one for per-thread streams comes second in the list, and counts where it is wanted.
    if (best == nullptr || entry.since >= best->since) best = &entry;
  }
  if (best == nullptr) return choice;
  const bool same = KnownReal(best->id) == found || FindReal(best->id, nullptr) == found;
  if (!same && version > CUDA_VERSION) return choice;
  if (AdoptReal(best->id, found)) choice.ours = OurFunction(best->id);
  return choice;
}

}  // namespace oomtrace
