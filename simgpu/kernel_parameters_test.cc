#include "simgpu/kernel_parameters.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <cstring>

namespace oomtrace::simgpu {
namespace {

void Append(std::vector<char>* bytes, const void* data, size_t size) {
  bytes->insert(bytes->end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
}

// A cubin with one kernel "scale" that takes an int and a pointer.
std::vector<char> Cubin() {
  struct Parameter {
    uint8_t format = 4, number = 0x17;
    uint16_t bytes = 12;
    uint32_t index = 0;
    uint16_t ordinal, offset;
    uint32_t size;
  };
  const Parameter parameters[] = {{.ordinal = 1, .offset = 8, .size = 8u << 18},
                                  {.ordinal = 0, .offset = 0, .size = 4u << 18 | 0x1ffu}};
  const char names[] = "\0.shstrtab\0.nv.info.scale";
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  Elf64_Shdr sections[3] = {};
  sections[1].sh_name = 1;
  sections[1].sh_offset = sizeof header;
  sections[1].sh_size = sizeof names;
  sections[2].sh_name = 11;
  sections[2].sh_offset = sizeof header + sizeof names;
  sections[2].sh_size = sizeof parameters;
  header.e_shoff = sizeof header + sizeof names + sizeof parameters;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 1;
  std::vector<char> image;
  Append(&image, &header, sizeof header);
  Append(&image, names, sizeof names);
  Append(&image, parameters, sizeof parameters);
  Append(&image, sections, sizeof sections);
  return image;
}

void ExpectScale(const ParameterTable& table) {
  ASSERT_EQ(table.count("scale"), 1u);
  const KernelParameters& parameters = table.at("scale");
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(parameters[0].offset, 0u);
  EXPECT_EQ(parameters[0].size, 4u);
  EXPECT_EQ(parameters[1].offset, 8u);
  EXPECT_EQ(parameters[1].size, 8u);
}

TEST(KernelParameters, OfACubin) {
  const std::vector<char> image = Cubin();
  ExpectScale(ReadParameters(image.data(), image.size()));
  size_t bytes = 0;
  ExpectScale(ReadParametersOfImage(image.data(), &bytes));
  EXPECT_EQ(bytes, image.size());
}

TEST(KernelParameters, ACubinCutAnywhereIsReadWithoutHarm) {
  const std::vector<char> image = Cubin();
  for (size_t size = 0; size < image.size(); ++size) {
    const std::vector<char> cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(ReadParameters(cut.data(), cut.size()).empty()) << size;
  }
}

TEST(KernelParameters, OfAFatBinaryThatIsCompressed) {
  const std::vector<char> image = Cubin();
  std::vector<char> packed(ZSTD_compressBound(image.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), image.data(), image.size(), 3));
  const size_t payload = (packed.size() + 7) / 8 * 8;
  std::vector<char> container(16 + 64 + payload);
  const uint32_t magic = 0xba55ed50;
  const uint16_t header_bytes = 16;
  const uint64_t content = 64 + payload;
  std::memcpy(container.data(), &magic, 4);
  std::memcpy(container.data() + 6, &header_bytes, 2);
  std::memcpy(container.data() + 8, &content, 8);
  char* entry = container.data() + 16;
  const uint16_t elf = 2;
  const uint32_t entry_header = 64;
  const auto compressed = static_cast<uint32_t>(packed.size());
  const uint64_t flags = 0x8011;
  const uint64_t size = image.size();
  std::memcpy(entry, &elf, 2);
  std::memcpy(entry + 4, &entry_header, 4);
  std::memcpy(entry + 8, &payload, 8);
  std::memcpy(entry + 16, &compressed, 4);
  std::memcpy(entry + 40, &flags, 8);
  std::memcpy(entry + 56, &size, 8);
  std::memcpy(entry + 64, packed.data(), packed.size());
  FatBinaryImages images(container.data());
  std::vector<char> found;
  ASSERT_TRUE(images.Next(&found));
  EXPECT_EQ(found, image);
  EXPECT_FALSE(images.Next(&found));
}

}  // namespace
}  // namespace oomtrace::simgpu
