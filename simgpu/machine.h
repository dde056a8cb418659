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
  // The devices that CUDA_VISIBLE_DEVICES shows: the runtime's and the driver's numbers.
  int device_count() const { return static_cast<int>(settings_.visible.size()); }
  DeviceMemory& device(int index) { return *devices_[settings_.visible[index]]; }
  bool valid(int index) const { return index >= 0 && index < device_count(); }

  // All devices of the machine: NVML's numbers.
  int machine_device_count() const { return static_cast<int>(devices_.size()); }
  DeviceMemory& machine_device(int number) { return *devices_[number]; }
  int MachineNumber(int index) const { return settings_.visible[index]; }
  // The visible device with that number, -1: hidden or none.
  int VisibleIndex(int number) const;

  // kNoDevice if there is none, kNotInitialized in a child forked after CUDA was used.
  Refusal CheckUsable() const;
  // As CheckUsable(), then makes sure that `index` has its primary context.
  Refusal RequireContext(int index);
  // A context was made: forked children cannot use CUDA any more, and profilers are told.
  void NoteContext(int index);

  // The calling thread's device (cudaSetDevice, cuCtxSetCurrent). -1 while none was chosen: the driver has no current
  // context then, the runtime means device 0.
  static int chosen_device();
  // In its primary context, or in one of its own (cuCtxCreate), which the driver's API made current.
  static void choose_device(int index, uint64_t own_context = 0);
  static uint64_t own_context();  // 0: the primary one
  static int current_device() { return chosen_device() < 0 ? 0 : chosen_device(); }
  DeviceMemory& current() { return device(current_device()); }

  // By a device's number in the machine: the PCI bus and the UUID by which the runtime, the driver and NVML name it.
  static int PciBus(int number) { return number + 1; }
  static void Uuid(int number, unsigned char (&bytes)[16]);

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
