#include "analyzer/diagnose/device_table.h"

#include <algorithm>

namespace oomtrace {
namespace {

int64_t OtherAllocations(const Timeline& timeline, int64_t moment) {
  int64_t bytes = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.caching_allocator || allocation.device != timeline.device) continue;
    if (allocation.born <= moment && allocation.died > moment) bytes += allocation.bytes;
  }
  return bytes;
}

int64_t ForeignProcesses(const Timeline& timeline) {
  int64_t bytes = 0;
  for (const GpuProcess& process : timeline.gpu_processes) {
    if (!process.self) bytes += process.bytes;
  }
  return bytes;
}

Sample SampleAt(const Timeline& timeline, int64_t moment) {
  const auto next = std::upper_bound(timeline.samples.begin(), timeline.samples.end(), moment,
                                     [](int64_t t, const Sample& sample) { return t < sample.time; });
  return next == timeline.samples.begin() ? Sample() : *std::prev(next);
}

}  // namespace

report::DeviceTable MakeDeviceTable(const Timeline& timeline, const Facts& facts) {
  report::DeviceTable table;
  table.set_index(timeline.device);
  int64_t total = facts.oom && facts.oom->device_total > 0 ? facts.oom->device_total : timeline.device_total;
  for (const DeviceInfo& device : timeline.devices) {
    if (device.index != timeline.device) continue;
    table.set_name(device.name);
    if (total == 0) total = device.total;
  }
  const Sample sample = SampleAt(timeline, facts.moment);
  int64_t tensors = sample.tensors;
  int64_t reserved = sample.reserved;
  // A refusal outside PyTorch's allocator (a driver call of a library) does not carry the allocator's own counts.
  if (facts.oom && facts.oom->from_caching_allocator) {
    tensors = facts.oom->allocated;
    reserved = facts.oom->reserved;
  }
  reserved = std::max(reserved, tensors);
  if (total == 0) total = reserved;  // the device was never asked
  int64_t left = std::max<int64_t>(0, total - reserved);
  const auto take = [&left](int64_t bytes) {
    const int64_t taken = std::clamp<int64_t>(bytes, 0, left);
    left -= taken;
    return taken;
  };
  const bool asked = facts.oom ? facts.oom->device_total > 0 : timeline.device_total > 0;
  table.set_total(std::max(total, reserved));
  table.set_tensors(tensors);
  table.set_cache(reserved - tensors);
  table.set_other(take(OtherAllocations(timeline, facts.moment)));
  if (facts.oom && asked) {
    table.set_free(take(facts.oom->device_free));
    table.set_other_processes(take(ForeignProcesses(timeline)));
    table.set_context(left);
  } else if (asked) {
    // The free bytes were read at another moment; what is not PyTorch's does not change with PyTorch's segments.
    const int64_t last_reserved = timeline.samples.empty() ? reserved : SampleAt(timeline, timeline.end).reserved;
    const int64_t outside = std::max<int64_t>(0, total - timeline.device_free - last_reserved - table.other());
    const int64_t foreign = std::min(ForeignProcesses(timeline), outside);
    table.set_other_processes(take(foreign));
    table.set_context(take(outside - foreign));
    table.set_free(left);
  } else {
    table.set_other_processes(take(ForeignProcesses(timeline)));
    table.set_free(left);
  }
  return table;
}

}  // namespace oomtrace
