#include "analyzer/replay/replay.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/strings/match.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

struct SegmentEvent {
  int64_t time;
  const DeviceAllocation* segment;
  bool free;
};

std::vector<SegmentEvent> SegmentEvents(const Timeline& timeline) {
  std::vector<SegmentEvent> events;
  for (const DeviceAllocation& segment : timeline.device_allocations) {
    // A segment is an address: of physical memory that is mapped to one, the mapping.
    if (!segment.caching_allocator || segment.device != timeline.device) continue;
    if (segment.kind == MemoryKind::kPhysical) continue;
    events.push_back({segment.born, &segment, false});
    if (segment.died != kNever) events.push_back({segment.died, &segment, true});
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const SegmentEvent& a, const SegmentEvent& b) { return a.time < b.time; });
  return events;
}

void SetPrivateLists(const std::vector<FreeList>& lists, CachingAllocator* allocator) {
  for (uint32_t i = 0; i < lists.size(); ++i)
    if (lists[i].pool != 0) allocator->SetPrivate(i);
}

// The private pool whose segment this was, 0: none that is known.
uint32_t PrivatePoolOf(const Timeline& timeline, const DeviceAllocation& segment) {
  for (const PrivateSegment& known : timeline.private_segments) {
    const bool inside =
        segment.address >= known.address && segment.address - known.address < static_cast<uint64_t>(known.bytes);
    if (inside && known.device == segment.device && segment.born >= known.born && segment.born <= known.taken)
      return known.pool;
  }
  return 0;
}

constexpr std::string_view kNative = "native";

std::string RecordedSettings(const Timeline& timeline) {
  const std::optional<std::string> any_device = EnvironmentVariable(timeline, "PYTORCH_ALLOC_CONF");
  return any_device ? *any_device : EnvironmentVariable(timeline, "PYTORCH_CUDA_ALLOC_CONF").value_or("");
}

const char* AllocatorOf(const Timeline& timeline) {
  if (timeline.pluggable) return "pluggable";
  if (EnvironmentVariable(timeline, "PYTORCH_NO_CUDA_MEMORY_CACHING") == "1") return "no caching";
  return absl::StrContains(RecordedSettings(timeline), "backend:cudaMallocAsync") ? "cudaMallocAsync" : kNative.data();
}

}  // namespace

std::vector<TimedOp> RecordedStream(const Timeline& timeline) {
  std::vector<TimedOp> ops;
  ops.reserve(timeline.tensors.size() * 2);
  for (uint32_t i = 0; i < timeline.tensors.size(); ++i) {
    const Tensor& tensor = timeline.tensors[i];
    if (tensor.device != timeline.device || tensor.bytes <= 0) continue;
    ops.push_back({tensor.born, i, false});
    if (tensor.died != kNever) ops.push_back({tensor.died, i, true});
  }
  std::stable_sort(ops.begin(), ops.end(), [](const TimedOp& a, const TimedOp& b) {
    if (a.time != b.time) return a.time < b.time;
    return a.free && !b.free && a.tensor != b.tensor;
  });
  return ops;
}

StreamOp ToStream(const Timeline& timeline, const TimedOp& op) {
  const Tensor& tensor = timeline.tensors[op.tensor];
  return {.block = op.tensor, .bytes = op.free ? 0 : tensor.bytes, .list = tensor.free_list};
}

ReplayResult RunStream(const std::vector<StreamOp>& stream, const AllocatorConfig& config,
                       const std::vector<FreeList>& lists) {
  CachingAllocator allocator(config);
  SetPrivateLists(lists, &allocator);
  std::unordered_map<uint32_t, CachingAllocator::Handle> live;
  ReplayResult result;
  for (const StreamOp& op : stream) {
    if (op.bytes == 0) {
      if (const auto it = live.find(op.block); it != live.end()) {
        allocator.Free(it->second);
        live.erase(it);
      }
      continue;
    }
    CachingAllocator::Handle handle = allocator.Allocate(op.bytes, op.list);
    if (!handle) {
      result.refused = op.bytes;
      result.peak_reserved = std::max(allocator.peak_reserved(), allocator.reserved() + op.bytes);
      result.peak_allocated = std::max(allocator.peak_allocated(), allocator.allocated() + op.bytes);
      return result;
    }
    live[op.block] = handle;
  }
  result.fits = true;
  result.peak_reserved = allocator.peak_reserved();
  result.peak_allocated = allocator.peak_allocated();
  return result;
}

AllocatorConfig RecordedConfig(const Timeline& timeline) { return ParseAllocatorConfig(RecordedSettings(timeline)); }

const char* AllocatorName(const Timeline& timeline) {
  const bool torch = !timeline.tensors.empty() || !timeline.process.torch_version.empty();
  return torch ? AllocatorOf(timeline) : "";
}

bool UsesCachingAllocator(const Timeline& timeline) { return AllocatorOf(timeline) == kNative; }

Fidelity CheckFidelity(const Timeline& timeline) {
  const std::vector<SegmentEvent> recorded = SegmentEvents(timeline);
  if (recorded.empty()) return {};
  CachingAllocator allocator(RecordedConfig(timeline));
  SetPrivateLists(timeline.free_lists, &allocator);
  for (const SegmentEvent& event : recorded) {
    if (!event.free) allocator.PlaceNextSegment(event.segment->bytes, event.segment->address);
  }
  std::unordered_map<uint32_t, CachingAllocator::Handle> live;
  size_t next = 0;
  for (const TimedOp& op : RecordedStream(timeline)) {
    // A segment that went back to the device before this request: empty_cache(), or a retry after a refusal.
    for (; next < recorded.size() && recorded[next].time <= op.time; ++next) {
      if (!recorded[next].free) continue;
      allocator.EmptyCache();
      const uint32_t pool = PrivatePoolOf(timeline, *recorded[next].segment);
      for (uint32_t list = 0; pool != 0 && list < timeline.free_lists.size(); ++list)
        if (timeline.free_lists[list].pool == pool) allocator.ReleasePrivate(list);
    }
    if (!op.free) {
      const Tensor& tensor = timeline.tensors[op.tensor];
      live[op.tensor] = allocator.Allocate(tensor.bytes, tensor.free_list);
    } else if (const auto it = live.find(op.tensor); it != live.end()) {
      allocator.Free(it->second);
      live.erase(it);
    }
  }
  Fidelity fidelity;
  const std::vector<int64_t>& replayed = allocator.segments();
  size_t position = 0;
  for (const SegmentEvent& event : recorded) {
    if (event.free) continue;
    if (position < replayed.size() && replayed[position] == event.segment->bytes) ++fidelity.matched;
    ++position;
  }
  fidelity.of = static_cast<int64_t>(std::max(position, replayed.size()));
  return fidelity;
}

}  // namespace oomtrace
