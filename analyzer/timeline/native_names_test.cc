#include "analyzer/timeline/native_names.h"

#include <dlfcn.h>
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "analyzer/timeline/library_symbols.h"

namespace oomtrace {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kCuda[] = "/p/torch/lib/libtorch_cuda.so";
constexpr char kCpu[] = "/p/torch/lib/libtorch_cpu.so";
const NativeCall kAllocator = {
    "/p/torch/lib/libc10_cuda.so",
    "c10::cuda::CUDACachingAllocator::Native::NativeCachingAllocator::allocate(unsigned long)"};

// As they were found in traces of PyTorch 2.15.0 and 2.4.1.
TEST(NativeNames, TellsWhatLibrariesAskFor) {
  EXPECT_EQ(NameOfBuffer({kAllocator, {kCuda, "at::cuda::allocateCUDABlasWorkspace(unsigned long)"}}),
            "cuBLAS workspace");
  EXPECT_EQ(NameOfBuffer({kAllocator,
                          {kCuda, "void at::native::gpu_reduce_kernel<c10::BFloat16, c10::BFloat16, 4>(int)"},
                          {kCpu, "at::_ops::sum_dim_IntList::redispatch(c10::DispatchKeySet)"}}),
            "reduction buffer");
  EXPECT_EQ(NameOfBuffer({kAllocator, {"/p/nvidia/cudnn/lib/libcudnn_engines.so.9", ""}}), "cuDNN workspace");
}

TEST(NativeNames, FallsBackToTheOperatorThenTheFunctionThenTheLibrary) {
  EXPECT_EQ(NameOfBuffer({kAllocator, {kCuda, ""}, {kCpu, "at::_ops::unique_dim::call(at::Tensor const&)"}}),
            "buffer of unique_dim");
  EXPECT_EQ(NameOfBuffer({kAllocator, {"/x/my_extension.so", "(anonymous namespace)::scratch(int)"}}),
            "buffer of scratch");
  EXPECT_EQ(NameOfBuffer({kAllocator, {"/x/my_extension.so", ""}}), "buffer asked for by my_extension.so");
  EXPECT_EQ(NameOfBuffer({kAllocator}), "");
  EXPECT_EQ(NameOfBuffer({}), "");
}

// An operator's caller does not name its buffer: here a sort calls cumsum.
TEST(NativeNames, LooksNoFurtherThanTheInnermostOperator) {
  EXPECT_EQ(NameOfBuffer({kAllocator, {kCpu, "at::_ops::cumsum::call(int)"}, {kCpu, "at::native::sort(int)"}}),
            "buffer of cumsum");
}

// The file as a trace tells it that was recorded now.
LibraryFile FileAt(const std::string& path) {
  struct stat status = {};
  stat(path.c_str(), &status);
  return {path, static_cast<uint64_t>(status.st_size),
          static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(status.st_mtim.tv_nsec)};
}

TEST(LibrarySymbols, FindsAFunctionOfALoadedLibrary) {
  Dl_info info;
  const void* function = dlsym(RTLD_DEFAULT, "qsort");
  ASSERT_NE(dladdr(function, &info), 0);
  const auto address = reinterpret_cast<uintptr_t>(info.dli_saddr) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  // Shared libraries of this system have code where their addresses and file offsets agree.
  LibrarySymbols symbols;
  EXPECT_THAT(symbols.FunctionAt(FileAt(info.dli_fname), address + 1), HasSubstr("sort")) << info.dli_fname;
  EXPECT_THAT(symbols.FunctionAt(FileAt(info.dli_fname), address), Not(HasSubstr("sort")));
}

TEST(LibrarySymbols, SaysNothingOfWhatIsNoLibrary) {
  LibrarySymbols symbols;
  for (const char* path : {"/nonexistent/libx.so", "/dev/zero", "/etc/passwd", "/", ""})
    EXPECT_EQ(symbols.FunctionAt(FileAt(path), 1), "") << path;
}

// A library of one function, f(int), whose code is at 0x1000 to 0x1020 of the file and 0x2000 in memory.
std::string TinyLibrary() {
  struct {
    Elf64_Ehdr header = {};
    Elf64_Phdr segment = {};
    Elf64_Shdr sections[2] = {};
    Elf64_Sym symbols[2] = {};
    char strings[8] = {'\0', '_', 'Z', '1', 'f', 'i', '\0', '\0'};
  } file;
  using File = decltype(file);
  std::memcpy(file.header.e_ident, ELFMAG, SELFMAG);
  file.header.e_ident[EI_CLASS] = ELFCLASS64;
  file.header.e_phoff = offsetof(File, segment);
  file.header.e_phnum = 1;
  file.header.e_shoff = offsetof(File, sections);
  file.header.e_shnum = 2;
  file.segment.p_type = PT_LOAD;
  file.segment.p_offset = file.segment.p_filesz = 0x1000;
  file.segment.p_vaddr = 0x2000;
  file.sections[0].sh_type = SHT_SYMTAB;
  file.sections[0].sh_offset = offsetof(File, symbols);
  file.sections[0].sh_size = sizeof file.symbols;
  file.sections[0].sh_link = 1;
  file.sections[1].sh_type = SHT_STRTAB;
  file.sections[1].sh_offset = offsetof(File, strings);
  file.sections[1].sh_size = sizeof file.strings;
  file.symbols[1].st_name = 1;
  file.symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
  file.symbols[1].st_shndx = 1;
  file.symbols[1].st_value = 0x2000;
  file.symbols[1].st_size = 0x20;
  return {reinterpret_cast<const char*>(&file), sizeof file};
}

std::string FunctionIn(const std::string& bytes, uint64_t offset) {
  const int file = memfd_create("tiny", MFD_CLOEXEC);
  EXPECT_EQ(write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  const std::string function = LibrarySymbols().FunctionAt(FileAt("/proc/self/fd/" + std::to_string(file)), offset);
  close(file);
  return function;
}

TEST(LibrarySymbols, ACallReturnsToWhatFollowsIt) {
  EXPECT_EQ(FunctionIn(TinyLibrary(), 0x1000), "");
  EXPECT_EQ(FunctionIn(TinyLibrary(), 0x1001), "f(int)");
  EXPECT_EQ(FunctionIn(TinyLibrary(), 0x1020), "f(int)");
  EXPECT_EQ(FunctionIn(TinyLibrary(), 0x1021), "");
}

// A library that was built again has other functions at the same places.
TEST(LibrarySymbols, AnotherFileThanTheProgramRanHasNoNames) {
  const std::string path = testing::TempDir() + "tiny." + std::to_string(getpid());
  const std::string bytes = TinyLibrary();
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const LibraryFile file = FileAt(path);
  EXPECT_EQ(LibrarySymbols().FunctionAt(file, 0x1010), "f(int)");
  EXPECT_EQ(LibrarySymbols().FunctionAt({path, file.bytes + 1, file.modified}, 0x1010), "");
  EXPECT_EQ(LibrarySymbols().FunctionAt({path, file.bytes, file.modified + 1}, 0x1010), "");
  EXPECT_EQ(LibrarySymbols().FunctionAt({path, 0, 0}, 0x1010), "");  // an older trace does not tell
  std::remove(path.c_str());
}

// Unmangled names are as they are, though the demangler takes some of them for types.
TEST(LibrarySymbols, AFunctionOfCKeepsItsName) {
  std::string bytes = TinyLibrary();
  const size_t name = bytes.find("_Z1fi");
  bytes.replace(name, 5, std::string("f\0\0\0\0", 5));
  EXPECT_EQ(FunctionIn(bytes, 0x1010), "f");
}

TEST(LibrarySymbols, WhatTheCompilerMadeOfAFunctionIsThatFunction) {
  std::string bytes = TinyLibrary();
  const size_t name = bytes.find("_Z1fi");
  bytes.replace(name, 6, "f.cold");
  EXPECT_EQ(FunctionIn(bytes, 0x1010), "f");
  bytes.replace(name, 6, "f.come");
  EXPECT_EQ(FunctionIn(bytes, 0x1010), "f.come");  // no such suffix
}

TEST(LibrarySymbols, SurvivesDamagedFiles) {
  const std::string whole = TinyLibrary();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char mask : {char(0xff), char(0x80), char(0x01)}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ mask);
      for (const uint64_t offset : {uint64_t{1}, uint64_t{0x1010}, ~uint64_t{0}}) FunctionIn(damaged, offset);
    }
  }
  for (size_t size = 0; size + 2 < whole.size(); ++size) EXPECT_EQ(FunctionIn(whole.substr(0, size), 0x1010), "");
}

}  // namespace
}  // namespace oomtrace
