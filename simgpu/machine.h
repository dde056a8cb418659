// The simulated machine: its devices, the calling thread's current one, contexts, and the log.
//
// One per process, built at the first CUDA call and never torn down: CUDA may be called from destructors at exit.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "simgpu/memory.h"
#include "simgpu/settings.h"

namespace oomtrace::simgpu {

// Why a call cannot go on. The numbers are cudaError_t and CUresult at once: both enumerations agree on these.
enum class Refusal : int {
  kNone = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,  // after fork(): cudaErrorInitializationError
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidHandle = 400,
  kNotSupported = 801,
};

class Machine {
 public:
  static Machine& Get();

  const Settings& settings() const { return settings_; }
  int device_count() const { return static_cast<int>(devices_.size()); }
  DeviceMemory& device(int index) { return *devices_[index]; }
  bool valid(int index) const { return index >= 0 && index < device_count(); }

  // kNoDevice if there is none, kNotInitialized in a child forked after CUDA was used.
  Refusal CheckUsable() const;
  // As CheckUsable(), then makes sure that `index` has its primary context.
  Refusal RequireContext(int index);

  // The calling thread's device (cudaSetDevice, cuCtxSetCurrent). -1 while none was chosen: the driver has no current
  // context then, the runtime means device 0.
  static int chosen_device();
  static void choose_device(int index);
  static int current_device() { return chosen_device() < 0 ? 0 : chosen_device(); }
  DeviceMemory& current() { return device(current_device()); }

  // The PCI address by which the runtime, the driver and NVML name a device: "00000000:01:00.0" has bus 1.
  static int PciBus(int index) { return index + 1; }
  // 16 bytes, the same for the runtime, the driver and NVML.
  static void Uuid(int index, unsigned char (&bytes)[16]);

  // A fresh opaque handle, never 0 and never an address of memory.
  uintptr_t NewHandle() { return handles_.fetch_add(16, std::memory_order_relaxed); }

 private:
  Machine();

  Settings settings_;
  std::vector<std::unique_ptr<DeviceMemory>> devices_;
  std::atomic<uintptr_t> handles_{0x10000};
};

// To stderr if OOMTRACE_SIM_LOG is 1.
[[gnu::format(printf, 1, 2)]] void Log(const char* format, ...);

}  // namespace oomtrace::simgpu
