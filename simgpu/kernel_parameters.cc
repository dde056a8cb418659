#include "simgpu/kernel_parameters.h"

#include <elf.h>
#include <zstd.h>

#include <cstring>
#include <string_view>

namespace oomtrace::simgpu {
namespace {

constexpr uint32_t kContainerMagic = 0xba55ed50;
constexpr uint16_t kElfEntry = 2;  // the other kind, 1, is PTX
constexpr uint64_t kZstdCompressed = 0x8000;
constexpr uint64_t kLz4Compressed = 0x2000;
constexpr uint64_t kMostImageBytes = 1 << 28;

// Of an attribute in .nv.info: u8 format, u8 number, then a value of two bytes or, for this format, a size and data.
constexpr uint8_t kSizedFormat = 4;
constexpr uint8_t kParameterInfo = 0x17;  // EIATTR_KPARAM_INFO: u32 index, u16 ordinal, u16 offset, u32 with the size
constexpr uint32_t kSizeShift = 18;
constexpr std::string_view kInfoPrefix = ".nv.info.";

struct Entry {  // a fat binary's, up to what is read
  uint16_t kind;
  uint16_t version;
  uint32_t header_bytes;
  uint64_t payload_bytes;
  uint32_t compressed_bytes;
  uint32_t unknown;
  uint16_t minor, major;
  uint32_t architecture;
  uint32_t name_offset, name_bytes;
  uint64_t flags;
  uint64_t zero;
  uint64_t image_bytes;
};
static_assert(sizeof(Entry) == 64);

template <typename T>
T Read(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

KernelParameters ReadAttributes(const char* at, const char* end) {
  KernelParameters parameters;
  while (at + 4 <= end) {
    const auto format = Read<uint8_t>(at);
    const auto number = Read<uint8_t>(at + 1);
    const auto size = Read<uint16_t>(at + 2);
    at += 4;
    if (format != kSizedFormat) continue;
    if (size > static_cast<size_t>(end - at)) break;
    if (number == kParameterInfo && size >= 12) {
      const auto ordinal = Read<uint16_t>(at + 4);
      if (parameters.size() <= ordinal) parameters.resize(ordinal + size_t{1});
      parameters[ordinal] = {Read<uint16_t>(at + 6), Read<uint32_t>(at + 8) >> kSizeShift};
    }
    at += size;
  }
  return parameters;
}

bool IsElf(const char* image) { return std::memcmp(image, ELFMAG, SELFMAG) == 0; }

}  // namespace

ParameterTable ReadParameters(const char* image, size_t bytes) {
  ParameterTable table;
  if (bytes < sizeof(Elf64_Ehdr) || !IsElf(image)) return table;
  const auto header = Read<Elf64_Ehdr>(image);
  const auto inside = [&](uint64_t offset, uint64_t size) { return offset <= bytes && size <= bytes - offset; };
  if (header.e_shentsize != sizeof(Elf64_Shdr) || !inside(header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr)) ||
      header.e_shstrndx >= header.e_shnum) {
    return table;
  }
  const auto section = [&](size_t i) { return Read<Elf64_Shdr>(image + header.e_shoff + i * sizeof(Elf64_Shdr)); };
  const Elf64_Shdr names = section(header.e_shstrndx);
  if (!inside(names.sh_offset, names.sh_size)) return table;
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr info = section(i);
    if (info.sh_name >= names.sh_size || !inside(info.sh_offset, info.sh_size)) continue;
    const char* text = image + names.sh_offset + info.sh_name;
    const std::string_view name(text, strnlen(text, names.sh_size - info.sh_name));
    if (name.substr(0, kInfoPrefix.size()) != kInfoPrefix) continue;
    const char* at = image + info.sh_offset;
    table.emplace(name.substr(kInfoPrefix.size()), ReadAttributes(at, at + info.sh_size));
  }
  return table;
}

ParameterTable ReadParametersOfImage(const void* image, size_t* bytes) {
  *bytes = 0;
  const char* data = static_cast<const char*>(image);
  if (data == nullptr || !IsElf(data)) return {};
  // nvcc and ptxas put the section headers, or behind them the program headers, at the end.
  const auto header = Read<Elf64_Ehdr>(data);
  const uint64_t sections = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  const uint64_t segments = header.e_phoff + uint64_t{header.e_phnum} * header.e_phentsize;
  *bytes = sections > segments ? sections : segments;
  return ReadParameters(data, *bytes);
}

FatBinaryImages::FatBinaryImages(const char* container) {
  if (container == nullptr || Read<uint32_t>(container) != kContainerMagic) return;
  at_ = container + Read<uint16_t>(container + 6);
  end_ = at_ + Read<uint64_t>(container + 8);
}

bool FatBinaryImages::Next(std::vector<char>* image) {
  while (at_ != nullptr && at_ + sizeof(Entry) <= end_) {
    const auto entry = Read<Entry>(at_);
    if (entry.header_bytes < sizeof(Entry)) break;
    const char* payload = at_ + entry.header_bytes;
    if (payload + entry.payload_bytes > end_) break;
    at_ = payload + entry.payload_bytes;
    if (entry.kind != kElfEntry || (entry.flags & kLz4Compressed) != 0) continue;
    if ((entry.flags & kZstdCompressed) == 0) {
      image->assign(payload, payload + entry.payload_bytes);
      return true;
    }
    if (entry.image_bytes > kMostImageBytes || entry.compressed_bytes > entry.payload_bytes) continue;
    image->resize(entry.image_bytes);
    const size_t size = ZSTD_decompress(image->data(), image->size(), payload, entry.compressed_bytes);
    if (ZSTD_isError(size)) continue;
    image->resize(size);
    return true;
  }
  at_ = nullptr;
  return false;
}

}  // namespace oomtrace::simgpu
