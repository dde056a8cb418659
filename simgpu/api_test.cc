// The C interface of the built library, as an application meets it: libraries opened by soname, functions by name.
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kTotal = 1024 * kMiB;
constexpr size_t kOther = 100 * kMiB;
constexpr size_t kContext = 24 * kMiB;

std::string Directory() { return SIMGPU_DIRECTORY; }

// A function of a library, found through that library's own handle.
template <typename Function>
Function* Find(const std::string& library, const char* name) {
  void* handle = dlopen((Directory() + "/" + library).c_str(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(handle, nullptr) << dlerror();
  void* function = dlsym(handle, name);
  EXPECT_NE(function, nullptr) << name;
  return reinterpret_cast<Function*>(function);
}

#define RUNTIME(name) Find<decltype(name)>("libcudart.so.13", #name)

size_t Free() {
  size_t free = 0;
  size_t total = 0;
  EXPECT_EQ(RUNTIME(cudaMemGetInfo)(&free, &total), cudaSuccess);
  EXPECT_EQ(total, kTotal);
  return free;
}

TEST(Api, EveryShellOpensAndLeadsToTheLibrary) {
  std::ifstream list(Directory() + "/preload.txt");
  std::string name;
  std::vector<std::string> names;
  while (std::getline(list, name)) names.push_back(name);
  ASSERT_GE(names.size(), 16u);
  EXPECT_EQ(names[0], "libsimgpu.so");
  for (const std::string& library : names) Find<decltype(cuInit)>(library, "cuInit");
}

// Without a version the dynamic linker warns of each program that was linked with NVIDIA's library.
TEST(Api, LibrariesHaveTheVersionsThatProgramsAskFor) {
  std::ifstream list(Directory() + "/preload.txt");
  for (std::string name; std::getline(list, name);) {
    const bool plain = name == "libsimgpu.so" || name.starts_with("libcuda.so") || name.starts_with("libnvidia-ml.") ||
                       name.starts_with("libnccl.");
    link_map* map = nullptr;
    ASSERT_EQ(dlinfo(dlopen((Directory() + "/" + name).c_str(), RTLD_NOW), RTLD_DI_LINKMAP, &map), 0) << name;
    bool has_versions = false;
    for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry)
      has_versions |= entry->d_tag == DT_VERDEF;
    EXPECT_EQ(has_versions, !plain) << name;
  }
}

TEST(Api, WhatNoMachineHasIsRefusedWhateverIsAskedFor) {
  constexpr size_t kAll = ~size_t{0};
  constexpr size_t kOverflows = (size_t{1} << 32) + 1;
  void* block = nullptr;
  size_t pitch = 0;
  cudaPitchedPtr box;
  cudaArray_t array = nullptr;
  cudaMipmappedArray_t pyramid = nullptr;
  const cudaChannelFormatDesc format = {32, 0, 0, 0, cudaChannelFormatKindFloat};
  for (const size_t extent : {kAll, kOverflows}) {
    EXPECT_NE(RUNTIME(cudaMallocPitch)(&block, &pitch, extent, extent), cudaSuccess);
    EXPECT_NE(RUNTIME(cudaMalloc3D)(&box, {extent, extent, extent}), cudaSuccess);
    EXPECT_NE(RUNTIME(cudaMallocArray)(&array, &format, extent, extent, 0), cudaSuccess);
    EXPECT_NE(RUNTIME(cudaMalloc3DArray)(&array, &format, {extent, extent, extent}, 0), cudaSuccess);
    EXPECT_NE(RUNTIME(cudaMallocMipmappedArray)(&pyramid, &format, {extent, extent, 0}, 3, 0), cudaSuccess);
  }
  EXPECT_NE(RUNTIME(cudaMalloc)(&block, kAll), cudaSuccess);
  EXPECT_NE(RUNTIME(cudaMallocManaged)(&block, kAll, cudaMemAttachGlobal), cudaSuccess);
  EXPECT_NE(RUNTIME(cudaMallocHost)(&block, kAll), cudaSuccess);
  EXPECT_NE(RUNTIME(cudaMallocAsync)(&block, kAll, nullptr), cudaSuccess);
  RUNTIME(cudaGetLastError)();
}

TEST(Api, MemoryNumbersAddUp) {
  EXPECT_EQ(Free(), kTotal - kOther - kContext);
  void* block = nullptr;
  ASSERT_EQ(RUNTIME(cudaMalloc)(&block, 3 * kMiB), cudaSuccess);
  EXPECT_EQ(Free(), kTotal - kOther - kContext - 4 * kMiB);
  cudaPointerAttributes attributes;
  ASSERT_EQ(RUNTIME(cudaPointerGetAttributes)(&attributes, block), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  ASSERT_EQ(RUNTIME(cudaFree)(block), cudaSuccess);
  EXPECT_EQ(Free(), kTotal - kOther - kContext);
}

TEST(Api, OutOfMemoryIsAnErrorThatStaysUntilRead) {
  void* block = &block;
  EXPECT_EQ(RUNTIME(cudaMalloc)(&block, kTotal), cudaErrorMemoryAllocation);
  EXPECT_EQ(block, nullptr);
  EXPECT_EQ(RUNTIME(cudaPeekAtLastError)(), cudaErrorMemoryAllocation);
  EXPECT_EQ(RUNTIME(cudaGetLastError)(), cudaErrorMemoryAllocation);
  EXPECT_EQ(RUNTIME(cudaGetLastError)(), cudaSuccess);
  EXPECT_STREQ(RUNTIME(cudaGetErrorString)(cudaErrorMemoryAllocation), "out of memory");
}

TEST(Api, FreeOfAnUnknownPointerIsRefused) {
  int local = 0;
  EXPECT_EQ(RUNTIME(cudaFree)(&local), cudaErrorInvalidValue);
  EXPECT_EQ(RUNTIME(cudaGetLastError)(), cudaErrorInvalidValue);
}

TEST(Api, SmallCopiesCarryBytesAndKernelsDoNot) {
  void* block = nullptr;
  ASSERT_EQ(RUNTIME(cudaMalloc)(&block, kMiB), cudaSuccess);
  const int sent = 42;
  int received = -1;
  auto* copy = RUNTIME(cudaMemcpy);
  ASSERT_EQ(copy(&received, block, sizeof received, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(received, 0) << "a fresh allocation reads as zeros";
  ASSERT_EQ(copy(block, &sent, sizeof sent, cudaMemcpyHostToDevice), cudaSuccess);
  ASSERT_EQ(copy(&received, block, sizeof received, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(received, 42);
  ASSERT_EQ(RUNTIME(cudaFree)(block), cudaSuccess);
}

TEST(Api, DriverFunctionsByName) {
  auto* find = Find<CUresult(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*)>(
      "libcuda.so.1", "cuGetProcAddress_v2");
  void* function = nullptr;
  CUdriverProcAddressQueryResult status;
  ASSERT_EQ(find("cuMemAlloc", &function, 13000, 0, &status), CUDA_SUCCESS);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
  EXPECT_EQ(function, reinterpret_cast<void*>(Find<decltype(cuMemAlloc)>("libcuda.so.1", "cuMemAlloc_v2")));
  EXPECT_EQ(find("cuNoSuchFunction", &function, 13000, 0, &status), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(function, nullptr);
  EXPECT_EQ(find("malloc", &function, 13000, 0, &status), CUDA_ERROR_NOT_FOUND) << "only the driver's own functions";
}

TEST(Api, WhatIsNotSimulatedSaysSoOnceAndFails) {
  auto* stub = Find<int()>("libcusparse.so.12", "cusparseSpGEMM_compute");
  testing::internal::CaptureStderr();
  EXPECT_NE(stub(), 0);
  EXPECT_NE(stub(), 0);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("cusparseSpGEMM_compute (libcusparse.so.12) is not simulated"), std::string::npos) << said;
  EXPECT_EQ(said.find("cusparseSpGEMM_compute"), said.rfind("cusparseSpGEMM_compute")) << "once";
}

TEST(Api, TheSimulatedDriverCanBeToldFromARealOne) { Find<const int>("libcuda.so.1", "oomtrace_simulated_gpu"); }

TEST(Api, ReportsOfPyTorchsAllocatorForgetTheBlock) {
  struct Device {
    signed char type, index;
  };
  auto* report = Find<void(void*, long, size_t, size_t, Device)>(
      "libsimgpu.so", "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE");
  void* block = nullptr;
  ASSERT_EQ(RUNTIME(cudaMalloc)(&block, kMiB), cudaSuccess);
  const int sent = 42;
  int received = -1;
  auto* copy = RUNTIME(cudaMemcpy);
  const auto read = [&] {
    EXPECT_EQ(copy(&received, block, sizeof received, cudaMemcpyDeviceToHost), cudaSuccess);
    return received;
  };
  ASSERT_EQ(copy(block, &sent, sizeof sent, cudaMemcpyHostToDevice), cudaSuccess);
  report(block, -512, 0, 0, {1, 0});
  EXPECT_EQ(read(), 42) << "a free changes nothing";
  report(block, 512, 0, 0, {0, 0});
  EXPECT_EQ(read(), 42) << "a host allocation is not ours";
  report(block, 512, 0, 0, {1, 0});
  EXPECT_EQ(read(), 0);
  ASSERT_EQ(RUNTIME(cudaFree)(block), cudaSuccess);
}

TEST(Api, EachRuntimeTellsItsOwnVersion) {
  int version = 0;
  ASSERT_EQ(Find<decltype(cudaRuntimeGetVersion)>("libcudart.so.12", "cudaRuntimeGetVersion")(&version), cudaSuccess);
  EXPECT_EQ(version / 1000, 12);
  ASSERT_EQ(RUNTIME(cudaRuntimeGetVersion)(&version), cudaSuccess);
  EXPECT_EQ(version / 1000, 13);
}

// Offsets of CUDA 12.8's cudaDeviceProp, whose programs reserve 1032 bytes; CUDA 13 dropped fields in between.
TEST(Api, PropertiesOfCuda12AreLaidOutAsItsProgramsExpect) {
  alignas(8) char properties[1032 + 8];
  memset(properties, 0x5a, sizeof properties);
  auto* get = Find<cudaError_t(void*, int)>("libcudart.so.12", "cudaGetDeviceProperties_v2");
  ASSERT_EQ(get(properties, 0), cudaSuccess);
  cudaDeviceProp now;
  ASSERT_EQ(RUNTIME(cudaGetDeviceProperties)(&now, 0), cudaSuccess);
  EXPECT_STREQ(properties, now.name);
  int major, multiprocessors;
  memcpy(&major, properties + 360, sizeof major);
  memcpy(&multiprocessors, properties + 388, sizeof multiprocessors);
  EXPECT_EQ(major, now.major);
  EXPECT_EQ(multiprocessors, now.multiProcessorCount);
  for (size_t i = 1032; i < sizeof properties; ++i) EXPECT_EQ(properties[i], 0x5a) << i;
}

// A program of CUDA 12 has 24 bytes for this answer, one of CUDA 13 has 88.
TEST(Api, PointerAttributesFitCuda12) {
  alignas(8) char attributes[32];
  memset(attributes, 0x5a, sizeof attributes);
  auto* get = Find<cudaError_t(void*, const void*)>("libcudart.so.12", "cudaPointerGetAttributes");
  ASSERT_EQ(get(attributes, attributes), cudaSuccess);
  for (size_t i = 24; i < sizeof attributes; ++i) EXPECT_EQ(attributes[i], 0x5a) << i;
}

TEST(Api, CudaDoesNotSurviveFork) {
  Free();  // makes the context
  auto* count = RUNTIME(cudaGetDeviceCount);
  const pid_t child = fork();
  if (child == 0) {
    int n = 0;
    _exit(count(&n) == cudaErrorInitializationError ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace

int main(int argc, char** argv) {
  setenv("OOMTRACE_SIM_GPU", "rtx4070", 1);
  setenv("OOMTRACE_SIM_CAPACITY", std::to_string(kTotal).c_str(), 1);
  setenv("OOMTRACE_SIM_OTHER", std::to_string(kOther).c_str(), 1);
  setenv("OOMTRACE_SIM_CONTEXT", std::to_string(kContext).c_str(), 1);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
