#include "analyzer/replay/fidelity.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/replay/replay.h"
#include "analyzer/timeline/live_set.h"
#include "analyzer/timeline/private_segments.h"

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

// The model beside what the device was asked for.
class SegmentRun {
 public:
  explicit SegmentRun(const Timeline& timeline)
      : timeline_(timeline), recorded_(SegmentEvents(timeline)), allocator_(RecordedConfig(timeline)) {
    SetPrivateLists(timeline.free_lists, &allocator_);
    for (const SegmentEvent& event : recorded_) {
      if (!event.free) allocator_.PlaceNextSegment(event.segment->bytes, event.segment->address);
    }
  }

  bool empty() const { return recorded_.empty(); }

  CachingAllocator::Handle Allocate(int64_t time, int64_t bytes, uint32_t list) {
    GiveBackUntil(time);
    return allocator_.Allocate(bytes, list);
  }
  void Free(int64_t time, CachingAllocator::Handle block) {
    GiveBackUntil(time);
    if (block != nullptr) allocator_.Free(block);
  }

  Fidelity Result() const {
    Fidelity fidelity;
    const std::vector<int64_t>& replayed = allocator_.segments();
    size_t position = 0;
    for (const SegmentEvent& event : recorded_) {
      if (event.free) continue;
      if (position < replayed.size() && replayed[position] == event.segment->bytes) ++fidelity.matched;
      ++position;
    }
    fidelity.of = static_cast<int64_t>(std::max(position, replayed.size()));
    return fidelity;
  }

 private:
  // A segment that went back to the device before a request: empty_cache(), or a retry after a refusal.
  void GiveBackUntil(int64_t time) {
    for (; next_ < recorded_.size() && recorded_[next_].time <= time; ++next_) {
      if (!recorded_[next_].free) continue;
      allocator_.EmptyCache();
      const uint32_t pool = PrivatePoolOf(timeline_, *recorded_[next_].segment);
      for (uint32_t list = 0; pool != 0 && list < timeline_.free_lists.size(); ++list)
        if (timeline_.free_lists[list].pool == pool) allocator_.ReleasePrivate(list);
    }
  }

  const Timeline& timeline_;
  std::vector<SegmentEvent> recorded_;
  CachingAllocator allocator_;
  size_t next_ = 0;
};

Fidelity OfRecords(const Timeline& timeline) {
  SegmentRun run(timeline);
  if (run.empty()) return {};
  std::unordered_map<uint32_t, CachingAllocator::Handle> live;
  for (const TimedOp& op : RecordedStream(timeline)) {
    if (!op.free) {
      const Tensor& tensor = timeline.tensors[op.tensor];
      live[op.tensor] = run.Allocate(op.time, tensor.bytes, tensor.free_list);
    } else if (const auto it = live.find(op.tensor); it != live.end()) {
      run.Free(op.time, it->second);
      live.erase(it);
    }
  }
  Fidelity fidelity = run.Result();
  fidelity.stream = fidelity.Holds();
  return fidelity;
}

// Feeds every request of the trace to the model, with what lives at the time in memory and nothing else.
class AllRequests : public EventSink {
 public:
  AllRequests(const Timeline& timeline, const Tables& tables)
      : timeline_(timeline), run_(timeline), private_(timeline.private_segments) {
    for (const auto& [id, context] : tables.contexts) lists_[id] = ListOf({.stream = context.stream(), .pool = 0});
  }

  void OnTensorAlloc(const TensorAllocEvent& event) override {
    if (event.device != timeline_.device || event.bytes <= 0) return;
    size_t slot = blocks_.size();
    if (!unused_.empty()) {
      slot = unused_.back();
      unused_.pop_back();
    } else {
      blocks_.emplace_back();
    }
    for (const int64_t gone : live_.Add(event.address, event.bytes, static_cast<int64_t>(slot))) Free(event.time, gone);
    blocks_[slot] = run_.Allocate(event.time, event.bytes, ListOf(event));
  }

  void OnTensorFree(const TensorFreeEvent& event) override {
    if (event.device != timeline_.device) return;
    if (const int64_t slot = live_.Remove(event.address); slot >= 0) Free(event.time, slot);
  }

  Fidelity Result() const { return run_.Result(); }

 private:
  void Free(int64_t time, int64_t slot) {
    const auto index = static_cast<size_t>(slot);
    run_.Free(time, blocks_[index]);
    unused_.push_back(index);
  }

  // The default stream's where the timeline knows none such.
  uint32_t ListOf(const FreeList& list) const {
    const auto known = std::find(timeline_.free_lists.begin(), timeline_.free_lists.end(), list);
    return known == timeline_.free_lists.end() ? 0 : static_cast<uint32_t>(known - timeline_.free_lists.begin());
  }

  // As the timeline's builder assigns it to the tensors that have a record.
  uint32_t ListOf(const TensorAllocEvent& event) const {
    const auto context = lists_.find(event.context);
    const uint32_t list = context == lists_.end() ? 0 : context->second;
    const PrivateSegment* segment = private_.Of(event.device, event.address, event.time);
    if (segment == nullptr) return list;
    return ListOf({.stream = timeline_.free_lists[list].stream, .pool = segment->pool});
  }

  const Timeline& timeline_;
  SegmentRun run_;
  LiveSet live_;
  std::vector<CachingAllocator::Handle> blocks_;  // by slot
  std::vector<size_t> unused_;
  absl::flat_hash_map<uint32_t, uint32_t> lists_;  // context -> free list
  PrivateSegments private_;
};

}  // namespace

Fidelity CheckFidelity(const Timeline& timeline, TraceReader* reader, const Progress& progress) {
  const Fidelity of_records = OfRecords(timeline);
  if (timeline.left_out == 0 || of_records.of == 0 || reader == nullptr) return of_records;
  AllRequests requests(timeline, reader->tables());
  reader->ReadEvents(&requests, progress);
  Fidelity fidelity = requests.Result();
  fidelity.stream = of_records.stream;
  return fidelity;
}

}  // namespace oomtrace
