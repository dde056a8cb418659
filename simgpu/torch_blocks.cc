// Interposes c10::reportMemoryUsageToProfiler, which PyTorch's caching allocator calls for each block it hands out or
// takes back. cudaMalloc is called once per segment, so without this a block would read what the host wrote in its
// previous life: a stale found_inf makes GradScaler skip the step in which the optimizer state is born.
#include "simgpu/torch_blocks.h"

#include <dlfcn.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "simgpu/api.h"
#include "simgpu/contents.h"

namespace {

struct Device {  // c10::Device: two int8, passed in one register
  int8_t type;
  int8_t index;
};
constexpr int8_t kCuda = 1;  // c10::DeviceType::CUDA

using Report = void (*)(void* block, long change, size_t allocated, size_t reserved, Device device);
std::atomic<Report> real_report{nullptr};

constexpr char kSymbol[] = "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE";

}  // namespace

namespace oomtrace::simgpu {

// RTLD_NEXT finds nothing: Python loads torch's libraries with RTLD_LOCAL.
void FindTorchAllocatorReport() {
  if (real_report.load(std::memory_order_acquire) != nullptr) return;
  void* c10 = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
  if (c10 == nullptr) return;
  real_report.store(reinterpret_cast<Report>(dlsym(c10, kSymbol)), std::memory_order_release);
}

}  // namespace oomtrace::simgpu

SIMGPU_API void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void* block, long change, size_t allocated,
                                                                      size_t reserved, Device device) {
  if (device.type == kCuda && change > 0) {
    oomtrace::simgpu::Contents::Get().Forget(block, static_cast<size_t>(change));
  }
  Report real = real_report.load(std::memory_order_acquire);
  if (real == nullptr) {
    oomtrace::simgpu::FindTorchAllocatorReport();
    real = real_report.load(std::memory_order_acquire);
  }
  if (real != nullptr) real(block, change, allocated, reserved, device);
}
