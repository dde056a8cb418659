#include "analyzer/diagnose/device_pools.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// So many times a program gave memory back before anything was refused: a pool that keeps everything never does.
constexpr int64_t kGivesBack = 3;

bool IsCupy(const std::string& library) {
  return absl::StrContains(library, "/cupy_backends/") || absl::StrContains(library, "/cupy/");
}

bool LivesAt(const DeviceAllocation& allocation, int64_t time) {
  return allocation.born <= time && allocation.died > time;
}

bool IsOverhead(const DeviceAllocation& allocation) {
  return allocation.kind == MemoryKind::kContext || allocation.kind == MemoryKind::kCode;
}

// When something was first freed into a stream-ordered pool; kNever: not yet.
int64_t FirstFreeIntoPool(const Timeline& timeline) {
  int64_t first = kNever;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.kind == MemoryKind::kPooled) first = std::min(first, allocation.died);
  }
  return first;
}

// By pool, the highest that lived in it until then, less what lives.
std::map<uint64_t, int64_t> FreedByPool(const Timeline& timeline, int64_t moment) {
  std::map<uint64_t, std::vector<std::pair<int64_t, int64_t>>> pools;  // changes: time, bytes
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || allocation.kind != MemoryKind::kPooled || !CountsOnDevice(timeline, allocation))
      continue;
    auto& changes = pools[allocation.handle];
    changes.emplace_back(allocation.born, allocation.bytes);
    if (allocation.died <= moment) changes.emplace_back(allocation.died, -allocation.bytes);
  }
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.kind == MemoryKind::kPool && allocation.died <= moment) pools.erase(allocation.address);
  }
  std::map<uint64_t, int64_t> freed;
  for (auto& [pool, changes] : pools) {
    std::sort(changes.begin(), changes.end());
    int64_t held = 0;
    int64_t peak = 0;
    for (const auto& [time, bytes] : changes) {
      held += bytes;
      peak = std::max(peak, held);
    }
    freed[pool] = peak - held;
  }
  return freed;
}

// What the device missed beyond this process's allocations and other processes when it was last read by `time`.
int64_t OverheadBy(const Timeline& timeline, int64_t time) {
  const MemoryReading* last = nullptr;
  for (const MemoryReading& reading : timeline.memory_readings) {
    if (reading.device == timeline.device && reading.time <= time) last = &reading;
  }
  if (last == nullptr) return 0;
  int64_t taken = last->total - last->free;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (LivesAt(allocation, last->time) && CountsOnDevice(timeline, allocation)) taken -= InPages(allocation);
  }
  for (const GpuProcess& process : timeline.gpu_processes) taken -= process.self ? 0 : process.bytes;
  return std::max<int64_t>(0, taken);
}

}  // namespace

int64_t FreedIntoPools(const Timeline& timeline, int64_t moment) {
  int64_t all = 0;
  for (const auto& [pool, bytes] : FreedByPool(timeline, moment)) all += bytes;
  return all;
}

int64_t FreedIntoOtherPools(const Timeline& timeline, const OutOfMemory& refusal) {
  std::map<uint64_t, int64_t> freed = FreedByPool(timeline, refusal.time);
  if (InStreamOrder(refusal)) {
    // Which pool was asked is not on record: the one that served that place and that thread before, else any.
    const DeviceAllocation* before = nullptr;
    for (const DeviceAllocation& allocation : timeline.device_allocations) {
      const bool alike = allocation.kind == MemoryKind::kPooled && allocation.born <= refusal.time &&
                         allocation.library == refusal.library && allocation.caller == refusal.caller &&
                         allocation.thread == refusal.thread;
      if (alike) before = &allocation;
    }
    if (before == nullptr) return 0;
    freed.erase(before->handle);
  }
  int64_t all = 0;
  for (const auto& [pool, bytes] : freed) all += bytes;
  return all;
}

bool InStreamOrder(const OutOfMemory& refusal) { return absl::StrContains(refusal.api, "Async"); }

int64_t MeasuredOverhead(const Timeline& timeline, int64_t moment) {
  int64_t bytes = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.device == timeline.device && LivesAt(allocation, moment) && IsOverhead(allocation))
      bytes += allocation.bytes;
  }
  if (bytes > 0 || timeline.folded_calls.made > 0) return bytes;
  return OverheadBy(timeline, std::min(moment, FirstFreeIntoPool(timeline) - 1));
}

int64_t PageRounding(const Timeline& timeline, int64_t moment) {
  int64_t bytes = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (LivesAt(allocation, moment) && CountsOnDevice(timeline, allocation))
      bytes += InPages(allocation) - allocation.bytes;
  }
  return bytes;
}

Pools::Pools(const Timeline& timeline, int64_t moment)
    : platform_(EnvironmentVariable(timeline, "XLA_PYTHON_CLIENT_ALLOCATOR") == "platform") {
  // After a refusal the pool gives back what it has idle by itself: that says nothing of the time before.
  int64_t until = moment;
  for (const OutOfMemory& refusal : timeline.out_of_memory) {
    if (IsCupy(refusal.library)) until = std::min(until, refusal.time);
  }
  std::vector<std::pair<int64_t, bool>> calls;  // time, whether it gave back
  int64_t last_free = -1;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (!IsCupy(allocation.library) || !CountsOnDevice(timeline, allocation)) continue;
    if (allocation.born <= until) calls.emplace_back(allocation.born, false);
    if (allocation.died <= until) calls.emplace_back(allocation.died, true);
    if (allocation.died <= moment) last_free = std::max(last_free, allocation.died);
  }
  std::sort(calls.begin(), calls.end());
  int64_t times = 0;
  for (size_t i = 0; i < calls.size(); ++i) times += calls[i].second && (i == 0 || !calls[i - 1].second) ? 1 : 0;
  cupy_gives_back_ = times >= kGivesBack;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    const bool since = IsCupy(allocation.library) && LivesAt(allocation, moment) && allocation.born > last_free;
    if (since && CountsOnDevice(timeline, allocation)) cupy_idle_ += allocation.bytes;
  }
}

PoolKind Pools::Of(const std::string& library) const {
  if (IsCupy(library)) return cupy_gives_back_ ? PoolKind::kNone : PoolKind::kCupy;
  if (!absl::StrContains(library, "/xla_cuda") && !absl::StrContains(library, "/jaxlib/")) return PoolKind::kNone;
  return platform_ ? PoolKind::kNone : PoolKind::kXla;
}

bool CupyGaveUp(const Timeline& timeline, const OutOfMemory& refusal) {
  const OutOfMemory* before = nullptr;
  for (const OutOfMemory& other : timeline.out_of_memory) {
    if (&other == &refusal) break;
    before = &other;
  }
  return before != nullptr && IsCupy(refusal.library) && before->requested == refusal.requested &&
         before->thread == refusal.thread && before->library == refusal.library;
}

}  // namespace oomtrace
