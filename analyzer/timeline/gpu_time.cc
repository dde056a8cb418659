#include "analyzer/timeline/gpu_time.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace oomtrace {
namespace {

constexpr uint32_t kDeviceMemory = 3;  // CUpti_ActivityMemoryKind
constexpr uint32_t kManagedMemory = 5;
// A hook's time and CUPTI's are those of two moments of one call, between which a thread may lose its processor.
constexpr int64_t kSameCallNs = 100'000'000;

// The hooks' device allocations by address, each to be claimed by one of CUPTI's records.
class HookedAllocations {
 public:
  explicit HookedAllocations(const Timeline& timeline) {
    for (const DeviceAllocation& allocation : timeline.device_allocations) {
      if (Audited(allocation.kind)) by_address_[allocation.address].push_back({&allocation, false});
    }
  }

  // Whether a hook saw the allocation that CUPTI saw at `time` of the trace.
  bool Claim(uint64_t address, int64_t time) {
    const auto found = by_address_.find(address);
    if (found == by_address_.end()) return false;
    for (Entry& entry : found->second) {
      const DeviceAllocation& allocation = *entry.allocation;
      if (entry.claimed || std::abs(allocation.born - time) > kSameCallNs) continue;
      entry.claimed = true;
      return true;
    }
    return false;
  }

  // Of those that `chosen(born)` is true of.
  template <typename Choose>
  int64_t UnclaimedBytes(Choose chosen) const {
    int64_t bytes = 0;
    for (const auto& [address, entries] : by_address_) {
      for (const Entry& entry : entries) {
        const DeviceAllocation& allocation = *entry.allocation;
        if (!entry.claimed && allocation.on_device && chosen(allocation.born)) bytes += allocation.bytes;
      }
    }
    return bytes;
  }

 private:
  struct Entry {
    const DeviceAllocation* allocation;
    bool claimed;
  };
  static bool Audited(MemoryKind kind) {
    return kind == MemoryKind::kDevice || kind == MemoryKind::kManaged || kind == MemoryKind::kPooled ||
           kind == MemoryKind::kPhysical;
  }

  absl::flat_hash_map<uint64_t, std::vector<Entry>> by_address_;
};

// The collector's state at a moment; OFF before the first.
trace::CollectorState::State StateAt(const std::vector<CollectorChange>& changes, int64_t time) {
  auto state = trace::CollectorState::OFF;
  for (const CollectorChange& change : changes) {
    if (change.time >= time) break;
    state = static_cast<trace::CollectorState::State>(change.state);
  }
  return state;
}

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value & INT64_MAX); }

}  // namespace

void GpuTimeBuilder::OnState(int64_t time, const trace::CollectorState& event) {
  result_.changes.push_back({time, event.state(), tables_.String(event.reason())});
  const bool open = event.state() == trace::CollectorState::TIMELINE;
  const bool was_open = !result_.windows.empty() && result_.windows.back().end == kNever;
  if (open && !was_open) result_.windows.push_back({time, kNever});
  if (!open && was_open) result_.windows.back().end = time;
  result_.dropped = std::max(result_.dropped, Signed(event.dropped()));
  result_.untimed = std::max(result_.untimed, Signed(event.untimed()));
  result_.device_bytes = std::max(result_.device_bytes, Signed(event.device_bytes()));
  result_.host_bytes = std::max(result_.host_bytes, Signed(event.host_bytes()));
}

void GpuTimeBuilder::OnClock(int64_t time, const trace::CollectorClock& event) {
  clocks_.push_back({time, Signed(event.time())});
}

void GpuTimeBuilder::OnActivity(const trace::GpuActivity& event) {
  activities_.push_back({event.kind(), event.correlation(), Signed(event.start()), Signed(event.duration()),
                         Signed(event.bytes()), static_cast<int32_t>(event.device()), event.name(), event.graph()});
  result_.local_memory = std::max(result_.local_memory, Signed(event.local_memory()));
}

void GpuTimeBuilder::OnLaunch(int64_t time, const trace::Launch& event, uint32_t stack,
                              std::vector<LaunchAddress> addresses) {
  launches_[event.id()] = {.time = time,
                           .stack = stack,
                           .unknown = event.unknown() || event.cut(),
                           .again = event.again(),
                           .written = event.written(),
                           .addresses = std::move(addresses)};
}

void GpuTimeBuilder::OnCorrelation(const trace::Correlation& event) {
  launch_of_[event.correlation()] = event.launch();
}

void GpuTimeBuilder::OnMemory(const trace::CuptiMemory& event) { memory_.push_back(event); }

void GpuTimeBuilder::OnResource(const trace::GpuResource& event) {
  if (event.kind() != trace::GpuResource::MODULE) return;
  ++result_.modules;
  result_.module_bytes += Signed(event.bytes());
}

// By the nearest moment that is known on both clocks.
int64_t GpuTimeBuilder::ToTrace(int64_t collector) const {
  if (clocks_.empty()) return 0;
  const auto after = std::lower_bound(clocks_.begin(), clocks_.end(), collector,
                                      [](const Clock& clock, int64_t time) { return clock.collector < time; });
  const Clock& clock = after == clocks_.end() ? clocks_.back() : *after;
  return std::max<int64_t>(0, clock.trace + (collector - clock.collector));
}

void GpuTimeBuilder::Use(size_t index) {
  const Activity& activity = activities_[index];
  const auto correlated = launch_of_.find(activity.correlation);
  const auto launch = correlated == launch_of_.end() ? launches_.end() : launches_.find(correlated->second);
  const bool kernel = activity.kind == trace::GpuActivity::KERNEL;
  if (launch == launches_.end() || launch->second.unknown ||
      (kernel && FollowsPointers(tables_.String(activity.name)))) {
    if (kernel) {
      ++result_.unknown_parameters;
      result_.last_unknown = std::max(result_.last_unknown, ToTrace(activity.start));
    }
    return;
  }
  launch->second.work = index + 1;
  const int64_t start = ToTrace(activity.start);
  const int64_t end = start + activity.duration;
  std::vector<int64_t> tensors;
  for (const LaunchAddress& address : launch->second.addresses) {
    if (address.tensor >= 0) tensors.push_back(address.tensor);
  }
  std::sort(tensors.begin(), tensors.end());
  tensors.erase(std::unique(tensors.begin(), tensors.end()), tensors.end());
  for (const int64_t tensor : tensors) {
    TensorUse& use = result_.uses[tensor];
    if (use.uses++ == 0 || start < use.first) use.first = start;
    if (end < use.last) continue;
    use.last = end;
    use.last_launch = launch->second.time;
    use.last_stack = launch->second.stack;
    use.last_kernel = kernel ? tables_.String(activity.name) : "";
  }
}

// What was enqueued in what order, and what it did with tensors; of work that CUPTI lost, too.
void GpuTimeBuilder::Order(const Timeline& timeline) {
  std::vector<const Launched*> ordered;
  ordered.reserve(launches_.size());
  for (const auto& [id, launch] : launches_) ordered.push_back(&launch);
  std::sort(ordered.begin(), ordered.end(), [](const Launched* a, const Launched* b) { return a->time < b->time; });
  Accesses accesses(timeline.tensors);
  size_t window = 0;
  for (const Launched* launch : ordered) {
    while (window + 1 < result_.windows.size() && result_.windows[window + 1].begin <= launch->time) ++window;
    LaunchedWork work{.time = launch->time,
                      .stack = launch->stack,
                      .addresses = &launch->addresses,
                      .written = launch->written,
                      .again = launch->again};
    if (launch->work > 0) {
      const Activity& activity = activities_[launch->work - 1];
      work.kind = activity.kind == trace::GpuActivity::KERNEL ? WorkKind::kKernel
                  : activity.kind == trace::GpuActivity::COPY ? WorkKind::kCopy
                                                              : WorkKind::kFill;
      if (work.kind == WorkKind::kKernel) work.name = tables_.String(activity.name);
      work.bytes = activity.bytes;
    }
    accesses.Add(work, result_.windows.empty() ? 0 : result_.windows[window].begin);
    result_.launches.push_back({launch->time, launch->stack});
    if (launch->unknown) result_.last_unknown = std::max(result_.last_unknown, launch->time);
  }
  result_.accesses = accesses.Take();
}

// Allocations on a device that the driver made, by CUPTI's account, beside what the hooks reported.
void GpuTimeBuilder::Audit(const Timeline& timeline) {
  if (result_.changes.empty() || clocks_.empty()) return;
  HookedAllocations hooked(timeline);
  std::map<std::string, UnseenAllocation> by_source;
  absl::flat_hash_map<uint64_t, std::pair<std::string, int64_t>> live;  // of those that no hook saw, by address
  for (const trace::CuptiMemory& event : memory_) {
    if (event.kind() != kDeviceMemory && event.kind() != kManagedMemory) continue;
    const int64_t bytes = Signed(event.bytes());
    if (event.release()) {
      const auto found = live.find(event.address());
      if (found == live.end()) continue;
      by_source[found->second.first].live -= found->second.second;
      live.erase(found);
      continue;
    }
    result_.audited_bytes += bytes;
    ++result_.audited_count;
    if (hooked.Claim(event.address(), ToTrace(Signed(event.time())))) continue;
    const std::string& source = tables_.LibraryPath(event.source());
    UnseenAllocation& unseen = by_source[source];
    unseen.source = source;
    unseen.bytes += bytes;
    unseen.live += bytes;
    ++unseen.count;
    live[event.address()] = {source, bytes};
  }
  const auto in_state = [this](auto is_meant) {
    return [this, is_meant](int64_t born) { return is_meant(StateAt(result_.changes, born)); };
  };
  result_.unlisted_bytes = hooked.UnclaimedBytes(in_state([](trace::CollectorState::State state) {
    return state == trace::CollectorState::MEMORY || state == trace::CollectorState::TIMELINE;
  }));
  result_.unwatched_bytes = hooked.UnclaimedBytes(
      in_state([](trace::CollectorState::State state) { return state == trace::CollectorState::YIELDED; }));
  for (auto& [source, unseen] : by_source) result_.unseen.push_back(std::move(unseen));
  std::sort(result_.unseen.begin(), result_.unseen.end(),
            [](const UnseenAllocation& a, const UnseenAllocation& b) { return a.bytes > b.bytes; });
}

void GpuTimeBuilder::Finish(Timeline* timeline) {
  std::sort(clocks_.begin(), clocks_.end(), [](const Clock& a, const Clock& b) { return a.collector < b.collector; });
  std::sort(activities_.begin(), activities_.end(),
            [](const Activity& a, const Activity& b) { return a.start < b.start; });
  if (!activities_.empty()) result_.last_work = ToTrace(activities_.back().start);
  int64_t busy_until = 0;
  for (size_t i = 0; i < activities_.size(); ++i) {
    const Activity& activity = activities_[i];
    result_.kernels += activity.kind == trace::GpuActivity::KERNEL ? 1 : 0;
    result_.copies += activity.kind == trace::GpuActivity::COPY ? 1 : 0;
    result_.fills += activity.kind == trace::GpuActivity::FILL ? 1 : 0;
    result_.graph_kernels += activity.graph != 0 ? 1 : 0;
    if (activity.device == timeline->device) {
      const int64_t end = activity.start + activity.duration;
      result_.busy += std::max<int64_t>(0, end - std::max(busy_until, activity.start));
      busy_until = std::max(busy_until, end);
    }
    Use(i);
  }
  for (GpuTime::Window& window : result_.windows) window.end = std::min(window.end, timeline->end);
  Order(*timeline);
  Audit(*timeline);
  timeline->gpu_time = std::move(result_);
}

void NamedRanges::OnRange(int64_t time, uint32_t thread, const trace::NvtxRange& event, const Tables& tables) {
  switch (event.kind()) {
    case trace::NvtxRange::PUSH:
      pushed_[thread].push_back(ranges_.size());
      ranges_.push_back({tables.String(event.name()), time, kNever, thread});
      break;
    case trace::NvtxRange::POP:
      if (std::vector<size_t>& open = pushed_[thread]; !open.empty()) {
        ranges_[open.back()].end = time;
        open.pop_back();
      }
      break;
    case trace::NvtxRange::START:
      started_[event.range()] = ranges_.size();
      ranges_.push_back({tables.String(event.name()), time, kNever, thread});
      break;
    case trace::NvtxRange::END:
      if (const auto found = started_.find(event.range()); found != started_.end()) {
        ranges_[found->second].end = time;
        started_.erase(found);
      }
      break;
    default:
      break;
  }
}

}  // namespace oomtrace
