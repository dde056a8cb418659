#include "interpose/hooks/binding_audit.h"

#include <elf.h>
#include <link.h>

#include <atomic>
#include <string_view>

#include "interpose/hooks/entry_table.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/unknown_routes.h"

namespace oomtrace {
namespace {

constexpr size_t kMostFound = 32;  // a scan; what is beyond them is of the same libraries

struct Found {
  HookId id;
  const void* code;  // of the library
};

struct Scan {
  unsigned long long loaded = 0;  // libraries so far in this process, as the dynamic linker counts
  Found found[kMostFound];
  size_t count = 0;
};

// What a library's dynamic section says of its relocations. glibc has made the addresses absolute.
struct Dynamic {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const ElfW(Rela) * calls = nullptr;
  size_t calls_size = 0;
  const ElfW(Rela) * data = nullptr;
  size_t data_size = 0;
  size_t relative = 0;  // the first ones of `data`, which name no symbol
};

bool Allocates(std::string_view symbol) {
  return symbol.find("lloc") != std::string_view::npos || symbol == "cuMemCreate" ||
         symbol.find("ArrayCreate") != std::string_view::npos;
}

Dynamic ReadDynamic(const dl_phdr_info& library) {
  Dynamic dynamic;
  for (int i = 0; i < library.dlpi_phnum; ++i) {
    if (library.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(library.dlpi_addr + library.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; ++entry) {
      const auto value = entry->d_un.d_val;
      if (entry->d_tag == DT_SYMTAB) dynamic.symbols = reinterpret_cast<const ElfW(Sym)*>(value);
      if (entry->d_tag == DT_STRTAB) dynamic.names = reinterpret_cast<const char*>(value);
      if (entry->d_tag == DT_JMPREL) dynamic.calls = reinterpret_cast<const ElfW(Rela)*>(value);
      if (entry->d_tag == DT_PLTRELSZ) dynamic.calls_size = value;
      if (entry->d_tag == DT_RELA) dynamic.data = reinterpret_cast<const ElfW(Rela)*>(value);
      if (entry->d_tag == DT_RELASZ) dynamic.data_size = value;
      if (entry->d_tag == DT_RELACOUNT) dynamic.relative = value;
    }
  }
  return dynamic;
}

const void* CodeOf(const dl_phdr_info& library) {
  for (int i = 0; i < library.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = library.dlpi_phdr[i];
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0)
      return reinterpret_cast<const void*>(library.dlpi_addr + segment.p_vaddr);
  }
  return nullptr;
}

// A slot that holds the very function that our hook calls was bound past it. One that is not bound yet, or that holds
// another tool's function, is not.
void ScanRelocations(const dl_phdr_info& library, const Dynamic& dynamic, const ElfW(Rela) * first, size_t count,
                     Scan* scan) {
  for (size_t i = 0; i < count && scan->count < kMostFound; ++i) {
    const size_t symbol = first[i].r_info >> 32;
    if (symbol == 0) continue;
    const char* name = dynamic.names + dynamic.symbols[symbol].st_name;
    if (name[0] != 'c' || name[1] != 'u' || dynamic.symbols[symbol].st_shndx != SHN_UNDEF) continue;
    const HookId id = FindCudaHook(name);
    if (id == HookId::kCount || !Allocates(name)) continue;
    const void* bound = *reinterpret_cast<void* const*>(library.dlpi_addr + first[i].r_offset);
    if (bound != nullptr && bound == KnownReal(id)) scan->found[scan->count++] = {id, CodeOf(library)};
  }
}

int ScanLibrary(dl_phdr_info* library, size_t, void* argument) {
  auto* scan = static_cast<Scan*>(argument);
  scan->loaded = library->dlpi_adds;
  const Dynamic dynamic = ReadDynamic(*library);
  const bool absolute = reinterpret_cast<uintptr_t>(dynamic.symbols) >= library->dlpi_addr;  // not so in the vDSO
  if (dynamic.symbols == nullptr || dynamic.names == nullptr || !absolute) return 0;
  if (dynamic.calls != nullptr)
    ScanRelocations(*library, dynamic, dynamic.calls, dynamic.calls_size / sizeof(ElfW(Rela)), scan);
  const size_t count = dynamic.data_size / sizeof(ElfW(Rela));
  if (dynamic.data != nullptr && count > dynamic.relative)
    ScanRelocations(*library, dynamic, dynamic.data + dynamic.relative, count - dynamic.relative, scan);
  return 0;
}

int CountLibraries(dl_phdr_info* library, size_t, void* argument) {
  *static_cast<unsigned long long*>(argument) = library->dlpi_adds;
  return 1;
}

std::atomic<unsigned long long> seen{0};

}  // namespace

void AuditBindings() {
  unsigned long long loaded = 0;
  dl_iterate_phdr(CountLibraries, &loaded);
  if (loaded == seen.load(std::memory_order_relaxed)) return;
  // The scan itself may look nothing up: it runs under a lock of the dynamic linker.
  for (uint32_t i = 0; i < static_cast<uint32_t>(HookId::kCount); ++i)
    if (Allocates(HookOf(static_cast<HookId>(i)).symbol)) FindReal(static_cast<HookId>(i), nullptr);
  Scan scan;
  dl_iterate_phdr(ScanLibrary, &scan);
  for (size_t i = 0; i < scan.count; ++i)
    NoteUnknownRoute(wire::RouteKind::kBypassed, HookOf(scan.found[i].id).symbol, scan.found[i].code, true);
  seen.store(scan.loaded, std::memory_order_relaxed);
}

}  // namespace oomtrace
