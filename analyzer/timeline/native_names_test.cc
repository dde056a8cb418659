#include "analyzer/timeline/native_names.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include "analyzer/timeline/library_symbols.h"

namespace oomtrace {
namespace {

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

TEST(LibrarySymbols, FindsAFunctionOfALoadedLibrary) {
  Dl_info info;
  const void* function = dlsym(RTLD_DEFAULT, "qsort");
  ASSERT_NE(dladdr(function, &info), 0);
  const auto address = reinterpret_cast<uintptr_t>(info.dli_saddr) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  // Shared libraries of this system have code where their addresses and file offsets agree.
  const auto names = FunctionsAt(info.dli_fname, {address + 1});
  ASSERT_EQ(names.size(), 1u) << info.dli_fname;
  EXPECT_NE(names.begin()->second.find("sort"), std::string::npos) << names.begin()->second;
}

TEST(LibrarySymbols, SaysNothingOfWhatIsNoLibrary) {
  EXPECT_TRUE(FunctionsAt("/nonexistent/libx.so", {1}).empty());
  EXPECT_TRUE(FunctionsAt("/dev/zero", {1}).empty());
  EXPECT_TRUE(FunctionsAt("/etc/passwd", {1}).empty());
}

}  // namespace
}  // namespace oomtrace
