#include "interpose/hooks/cuda_query.h"

#include <atomic>
#include <cstddef>

#include "interpose/hooks/cuda_device_calls.h"
#include "interpose/hooks/real.h"

namespace oomtrace {
namespace {

constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: the question is allowed while a graph is captured
// CU_DEVICE_ATTRIBUTE_…
constexpr int kMultiprocessors = 16, kCapabilityMajor = 75, kCapabilityMinor = 76;

// A function looked up at its first use, and again as long as its library is not there.
class Function {
 public:
  constexpr Function(HookLibrary library, const char* symbol) : library_(library), symbol_(symbol) {}

  // The call's result; `otherwise` where there is no such function.
  template <typename... Arguments>
  int Call(int otherwise, Arguments... arguments) {
    void* found = found_.load(std::memory_order_acquire);
    if (found == nullptr) {
      found = FindIn(library_, symbol_);
      found_.store(found, std::memory_order_release);
    }
    if (found == nullptr) return otherwise;
    const InsideCuda inside;
    return reinterpret_cast<int (*)(Arguments...)>(found)(arguments...);
  }

 private:
  HookLibrary library_;
  const char* symbol_;
  std::atomic<void*> found_{nullptr};
};

constexpr int kAbsent = -1;

constinit Function driver_memory(HookLibrary::kCuda, "cuMemGetInfo_v2");
constinit Function driver_capture_mode(HookLibrary::kCuda, "cuThreadExchangeStreamCaptureMode");
constinit Function driver_device(HookLibrary::kCuda, "cuCtxGetDevice");
constinit Function driver_context(HookLibrary::kCuda, "cuCtxGetCurrent");
constinit Function driver_version(HookLibrary::kCuda, "cuDriverGetVersion");
constinit Function device_count(HookLibrary::kCuda, "cuDeviceGetCount");
constinit Function device_name(HookLibrary::kCuda, "cuDeviceGetName");
constinit Function device_total(HookLibrary::kCuda, "cuDeviceTotalMem_v2");
constinit Function device_attribute(HookLibrary::kCuda, "cuDeviceGetAttribute");
constinit Function runtime_memory(HookLibrary::kCudart, "cudaMemGetInfo");
constinit Function runtime_capture_mode(HookLibrary::kCudart, "cudaThreadExchangeStreamCaptureMode");
constinit Function runtime_device(HookLibrary::kCudart, "cudaGetDevice");
constinit Function runtime_version(HookLibrary::kCudart, "cudaRuntimeGetVersion");

int Ask(Function& memory, Function& capture_mode, size_t* free, size_t* total) {
  int mode = kRelaxed;
  const bool exchanged = capture_mode.Call(kAbsent, &mode) == 0;
  const int result = memory.Call(kAbsent, free, total);
  if (exchanged) capture_mode.Call(kAbsent, &mode);
  return result;
}

}  // namespace

bool QueryMemory(uint64_t* free, uint64_t* total) {
  *free = *total = 0;
  size_t free_bytes = 0, total_bytes = 0;
  // The runtime would make a context where the driver says that there is none.
  int result = Ask(driver_memory, driver_capture_mode, &free_bytes, &total_bytes);
  if (result == kAbsent) result = Ask(runtime_memory, runtime_capture_mode, &free_bytes, &total_bytes);
  if (result != 0) return false;
  *free = free_bytes;
  *total = total_bytes;
  return true;
}

uint32_t CurrentDevice() {
  int device = 0;
  int result = driver_device.Call(kAbsent, &device);
  if (result == kAbsent) result = runtime_device.Call(kAbsent, &device);
  return result == 0 && device > 0 ? static_cast<uint32_t>(device) : 0;
}

uint64_t CurrentContext() {
  void* context = nullptr;
  return driver_context.Call(kAbsent, &context) == 0 ? reinterpret_cast<uint64_t>(context) : 0;
}

uint32_t DriverVersion() {
  int version = 0;
  return driver_version.Call(kAbsent, &version) == 0 ? static_cast<uint32_t>(version) : 0;
}

uint32_t RuntimeVersion() {
  int version = 0;
  return runtime_version.Call(kAbsent, &version) == 0 ? static_cast<uint32_t>(version) : 0;
}

uint32_t DeviceCount() {
  int count = 0;
  return device_count.Call(kAbsent, &count) == 0 && count > 0 ? static_cast<uint32_t>(count) : 0;
}

bool QueryDevice(uint32_t device, DeviceFacts* facts) {
  const int index = static_cast<int>(device);
  size_t total = 0;
  if (device_name.Call(kAbsent, facts->name, static_cast<int>(sizeof(facts->name)), index) != 0 ||
      device_total.Call(kAbsent, &total, index) != 0)
    return false;
  const auto attribute = [&](int number) {
    int value = 0;
    return device_attribute.Call(kAbsent, &value, number, index) == 0 ? static_cast<uint32_t>(value) : 0;
  };
  facts->total = total;
  facts->capability_major = attribute(kCapabilityMajor);
  facts->capability_minor = attribute(kCapabilityMinor);
  facts->multiprocessors = attribute(kMultiprocessors);
  return true;
}

}  // namespace oomtrace
