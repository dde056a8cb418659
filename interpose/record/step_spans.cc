#include "interpose/record/step_spans.h"

#include <algorithm>

#include "interpose/record/memory.h"

namespace oomtrace {

void StepSpans::OnAlloc(uint32_t device, uint64_t ticks, uint64_t bytes, uint64_t reserved) {
  if (device >= kDevices) return;
  Device& state = devices_[device];
  state.used = true;
  state.live += bytes;
  state.last_reserved = reserved;
  state.open.reserved = std::max(state.open.reserved, reserved);
  if (state.live <= state.open.peak) return;
  state.open.peak = state.live;
  state.open.peak_ticks = ticks;
}

void StepSpans::OnFree(uint32_t device, uint64_t bytes) {
  if (device < kDevices) devices_[device].live -= bytes;
}

StepSpan StepSpans::Closed(const Device& device, uint64_t ticks) {
  StepSpan span = device.open;
  if (span.peak_ticks == 0) span.peak_ticks = ticks;  // nothing rose above what lived before
  span.end_ticks = ticks;
  span.live = device.live;
  return span;
}

bool StepSpans::OnStepEnd(uint64_t ticks) {
  for (Device& device : devices_) {
    if (!device.used) continue;
    if (device.spans == nullptr) device.spans = static_cast<StepSpan*>(MapMemory(kMost * sizeof(StepSpan)));
    if (device.spans == nullptr) return false;
    if (device.count == kMost) MergePairs(device);
    device.spans[device.count] = Closed(device, ticks);
    device.spans[device.count++].steps = 1;
    device.open = {};
    device.open.peak = device.live;
    device.open.reserved = device.last_reserved;
  }
  return true;
}

void StepSpans::MergePairs(Device& device) {
  size_t to = kSingle;
  for (size_t from = kSingle; from + 1 < device.count; from += 2) {
    const StepSpan& first = device.spans[from];
    StepSpan merged = device.spans[from + 1];
    if (first.peak > merged.peak) {
      merged.peak = first.peak;
      merged.peak_ticks = first.peak_ticks;
    }
    merged.reserved = std::max(merged.reserved, first.reserved);
    merged.steps += first.steps;
    device.spans[to++] = merged;
  }
  static_assert((kMost - kSingle) % 2 == 0);
  device.count = to;
}

}  // namespace oomtrace
