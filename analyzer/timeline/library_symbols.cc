#include "analyzer/timeline/library_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "analyzer/read/mapped_file.h"

namespace oomtrace {
namespace {

// Longer names stay mangled: the demangler needs stack in proportion. The longest in PyTorch 2.15 has 4,614 letters.
constexpr size_t kLongestName = 16384;

// "Take.constprop.0" → "Take": what a compiler makes of one function for a place that calls it is that function.
std::string_view WithoutClone(std::string_view name) {
  for (const std::string_view clone : {".constprop.", ".isra.", ".part.", ".cold", ".lto_priv."}) {
    const size_t at = name.find(clone);
    if (at != std::string_view::npos && at > 0) name = name.substr(0, at);
  }
  return name;
}

std::string Demangled(std::string_view mangled) {
  std::string name(WithoutClone(mangled));
  // Without the prefix the demangler takes a name for a type: a C function f would be "float".
  if (name.size() > kLongestName || name.compare(0, 2, "_Z") != 0) return name;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                         &std::free);
  return text != nullptr ? text.get() : name;
}

// Sizes alone do not do: a program that is mended and built again is often as large as before.
bool IsUnchanged(const LibraryFile& file) {
  struct stat status;
  return file.bytes > 0 && stat(file.path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         static_cast<uint64_t>(status.st_size) == file.bytes &&
         static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(status.st_mtim.tv_nsec) ==
             file.modified;
}

}  // namespace

class LibrarySymbols::Library {
 public:
  explicit Library(MappedFile file) : file_(std::move(file)), bytes_(file_.bytes()) {
    Elf64_Ehdr header;
    if (!Read(0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64) {
      return;
    }
    for (uint64_t i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      if (Read(header.e_phoff + i * sizeof segment, &segment) && segment.p_type == PT_LOAD)
        segments_.push_back(segment);
    }
    stripped_ = !AddFunctions(header, SHT_SYMTAB);
    if (stripped_) AddFunctions(header, SHT_DYNSYM);
    std::sort(functions_.begin(), functions_.end(), [](const Function& a, const Function& b) {
      return std::pair(a.begin, a.name) < std::pair(b.begin, b.name);
    });
  }

  bool stripped() const { return stripped_; }

  std::string FunctionAt(uint64_t offset) const {
    // The call may be the function's last instruction: what it returns to is then another's.
    uint64_t address = 0;
    if (offset == 0 || !AddressOf(offset - 1, &address)) return "";
    auto after = std::upper_bound(functions_.begin(), functions_.end(), address,
                                  [](uint64_t wanted, const Function& function) { return wanted < function.begin; });
    if (after == functions_.begin()) return "";
    const Function& function = *std::prev(after);
    return address - function.begin < function.size ? Demangled(Text(function.name)) : "";
  }

 private:
  struct Function {
    uint64_t begin, size;
    uint64_t name;  // offset into the file
  };

  // False where there is no such table.
  bool AddFunctions(const Elf64_Ehdr& header, uint32_t type) {
    for (uint64_t i = 0; i < header.e_shnum; ++i) {
      Elf64_Shdr table, strings;
      if (!Read(header.e_shoff + i * sizeof table, &table) || table.sh_type != type) continue;
      if (!Read(header.e_shoff + table.sh_link * sizeof strings, &strings)) return false;
      Elf64_Sym symbol;
      for (uint64_t at = 0; at < table.sh_size && Read(table.sh_offset + at, &symbol); at += sizeof symbol) {
        const auto kind = ELF64_ST_TYPE(symbol.st_info);
        if ((kind == STT_FUNC || kind == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF && symbol.st_size > 0)
          functions_.push_back({symbol.st_value, symbol.st_size, strings.sh_offset + symbol.st_name});
      }
      return true;
    }
    return false;
  }

  // As the symbol tables count.
  bool AddressOf(uint64_t offset, uint64_t* address) const {
    for (const Elf64_Phdr& segment : segments_) {
      if (offset - segment.p_offset >= segment.p_filesz) continue;
      *address = offset - segment.p_offset + segment.p_vaddr;
      return true;
    }
    return false;
  }

  std::string_view Text(uint64_t offset) const {
    if (offset >= bytes_.size()) return {};
    const std::string_view rest = bytes_.substr(offset);
    const size_t end = rest.find('\0');
    return end == std::string_view::npos ? std::string_view() : rest.substr(0, end);
  }

  template <typename T>
  bool Read(uint64_t offset, T* value) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof *value) return false;
    std::memcpy(value, bytes_.data() + offset, sizeof *value);
    return true;
  }

  MappedFile file_;
  std::string_view bytes_;
  std::vector<Elf64_Phdr> segments_;  // loaded ones
  std::vector<Function> functions_;   // by address
  bool stripped_ = true;              // without a table of its own functions
};

LibrarySymbols::LibrarySymbols() = default;
LibrarySymbols::~LibrarySymbols() = default;

const LibrarySymbols::Library* LibrarySymbols::Open(const LibraryFile& file) {
  const auto [found, fresh] = libraries_.try_emplace(file.path);
  if (fresh && IsUnchanged(file)) {
    if (absl::StatusOr<MappedFile> mapped = MappedFile::Open(file.path); mapped.ok())
      found->second = std::make_unique<Library>(*std::move(mapped));
  }
  return found->second.get();
}

std::string LibrarySymbols::FunctionAt(const LibraryFile& file, uint64_t offset) {
  const Library* library = Open(file);
  return library != nullptr ? library->FunctionAt(offset) : "";
}

std::string LibrarySymbols::WhyNameless(const LibraryFile& file) {
  struct stat status;
  if (file.bytes == 0) return "what it was when it ran is not in the trace";
  if (stat(file.path.c_str(), &status) != 0) return "it is not on this machine";
  if (!IsUnchanged(file)) return "it has changed since the recording, and names of another build would be wrong";
  const Library* library = Open(file);
  if (library == nullptr) return "it cannot be read";
  return library->stripped() ? "it is stripped, and names only what it exports" : "no function of its table is there";
}

}  // namespace oomtrace
