// How memory went in the steps that have been folded away: for each device the highest bytes in tensors and reserved
// bytes between two ends of an optimizer's step (of a backward, where no optimizer was seen yet), and what lived at the
// end. Bounded: when a device has kMost spans, all but the first kSingle are merged in pairs, so that the past grows
// coarser and the latest steps are single ones.
//
// Zeroed memory is an empty object. One thread at a time (TraceFile's lock).
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

struct StepSpan {
  uint64_t peak_ticks;  // when `peak` was
  uint64_t end_ticks;
  uint64_t peak;      // bytes in tensors
  uint64_t reserved;  // highest in the span
  uint64_t live;      // bytes in tensors at the end
  uint32_t steps;     // ends of steps in it, its own included
};

class StepSpans {
 public:
  static constexpr uint32_t kDevices = 16;
  static constexpr size_t kMost = 2048;
  static constexpr size_t kSingle = 256;

  void OnAlloc(uint32_t device, uint64_t ticks, uint64_t bytes, uint64_t reserved);
  void OnFree(uint32_t device, uint64_t bytes);
  // False where there is no memory.
  bool OnStepEnd(uint64_t ticks);

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (uint32_t device = 0; device < kDevices; ++device)
      for (size_t i = 0; i < devices_[device].count; ++i) visit(device, devices_[device].spans[i]);
  }
  // The span that was begun and has not ended, with no steps, as of `ticks`.
  template <typename Visit>
  void ForEachOpen(uint64_t ticks, Visit visit) const {
    for (uint32_t device = 0; device < kDevices; ++device)
      if (devices_[device].used) visit(device, Closed(devices_[device], ticks));
  }
  // What is reserved on the device by the last event of it.
  uint64_t reserved(uint32_t device) const { return device < kDevices ? devices_[device].last_reserved : 0; }

 private:
  struct Device {
    StepSpan* spans;  // kMost of them
    size_t count;
    StepSpan open;  // since the last end
    uint64_t live;
    uint64_t last_reserved;
    bool used;
  };

  static StepSpan Closed(const Device& device, uint64_t ticks);
  static void MergePairs(Device& device);

  Device devices_[kDevices];
};

}  // namespace oomtrace
