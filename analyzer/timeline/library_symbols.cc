#include "analyzer/timeline/library_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "analyzer/read/mapped_file.h"

namespace oomtrace {
namespace {

std::string Demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string result = text != nullptr ? text : name;
  std::free(text);
  return result;
}

class ElfFile {
 public:
  explicit ElfFile(std::string_view bytes) : bytes_(bytes) {
    usable_ = Read(0, &header_) && std::memcmp(header_.e_ident, ELFMAG, SELFMAG) == 0 &&
              header_.e_ident[EI_CLASS] == ELFCLASS64;
  }

  // Addresses as the symbol table counts them, with the offset that each came from, sorted.
  std::vector<std::pair<uint64_t, uint64_t>> Addresses(const std::vector<uint64_t>& offsets) const {
    std::vector<std::pair<uint64_t, uint64_t>> addresses;
    for (uint16_t i = 0; usable_ && i < header_.e_phnum; ++i) {
      Elf64_Phdr segment;
      if (!Read(header_.e_phoff + i * sizeof segment, &segment) || segment.p_type != PT_LOAD) continue;
      for (const uint64_t offset : offsets) {
        if (offset - segment.p_offset < segment.p_filesz)
          addresses.emplace_back(offset - segment.p_offset + segment.p_vaddr, offset);
      }
    }
    std::sort(addresses.begin(), addresses.end());
    return addresses;
  }

  // The full table if there is one, else that of the dynamic linker.
  template <typename Visit>
  void EachFunction(Visit visit) const {
    for (const uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
      for (uint16_t i = 0; usable_ && i < header_.e_shnum; ++i) {
        Elf64_Shdr table, strings;
        if (!Read(header_.e_shoff + i * sizeof table, &table) || table.sh_type != type) continue;
        if (!Read(header_.e_shoff + table.sh_link * sizeof strings, &strings)) return;
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
          Elf64_Sym symbol;
          if (!Read(table.sh_offset + at, &symbol)) return;
          const auto kind = ELF64_ST_TYPE(symbol.st_info);
          if ((kind == STT_FUNC || kind == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF)
            visit(symbol.st_value, symbol.st_size, strings.sh_offset + symbol.st_name);
        }
        return;
      }
    }
  }

  std::string Text(uint64_t offset) const {
    if (offset >= bytes_.size()) return "";
    const std::string_view rest = bytes_.substr(offset);
    const size_t end = rest.find('\0');
    return end == std::string_view::npos ? "" : std::string(rest.substr(0, end));
  }

 private:
  template <typename T>
  bool Read(uint64_t offset, T* value) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof *value) return false;
    std::memcpy(value, bytes_.data() + offset, sizeof *value);
    return true;
  }

  std::string_view bytes_;
  Elf64_Ehdr header_ = {};
  bool usable_ = false;
};

bool IsRegularFile(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

std::map<uint64_t, std::string> FunctionsAt(const std::string& path, const std::vector<uint64_t>& offsets) {
  std::map<uint64_t, std::string> names;
  if (!IsRegularFile(path)) return names;
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return names;
  const ElfFile elf(file->bytes());
  const auto addresses = elf.Addresses(offsets);
  if (addresses.empty()) return names;
  elf.EachFunction([&](uint64_t begin, uint64_t size, uint64_t name) {
    auto at = std::lower_bound(addresses.begin(), addresses.end(), std::pair<uint64_t, uint64_t>(begin, 0));
    // A return address may stand right behind the function, where the call was its last instruction.
    for (; at != addresses.end() && at->first - begin <= size; ++at) {
      if (at->first > begin) names.try_emplace(at->second, Demangled(elf.Text(name)));
    }
  });
  return names;
}

}  // namespace oomtrace
