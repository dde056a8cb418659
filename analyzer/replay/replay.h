// The recorded stream of tensor allocations through the allocator model.
//
// A trace checks the model on itself (fidelity.h): it must ask the device for the recorded segments in the recorded
// order. What a change would do (another capacity, expandable segments, another micro-batch) is then a run of another
// stream through the same model.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/replay/caching_allocator.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct StreamOp {
  uint32_t block = 0;  // a number that an allocation and its free share
  int64_t bytes = 0;   // of the allocation; 0: the block is freed
  uint32_t list = 0;   // index into Timeline::free_lists
};

// One request after another, as the allocator met them; device `timeline.device` only, and of a long trace only those
// of the tensors that have a record.
struct TimedOp {
  int64_t time = 0;
  uint32_t tensor = 0;  // index into Timeline::tensors
  bool free = false;
};
std::vector<TimedOp> RecordedStream(const Timeline& timeline);
// What the model is asked for by it.
StreamOp ToStream(const Timeline& timeline, const TimedOp& op);

struct ReplayResult {
  bool fits = false;          // no request was refused
  int64_t refused = 0;        // bytes of the first refused one
  int64_t peak_reserved = 0;  // the refused request included
  int64_t peak_allocated = 0;
};
// Tells the allocator which of `lists`, Timeline::free_lists, are those of private pools.
void SetPrivateLists(const std::vector<FreeList>& lists, CachingAllocator* allocator);
// `lists`: Timeline::free_lists.
ReplayResult RunStream(const std::vector<StreamOp>& stream, const AllocatorConfig& config,
                       const std::vector<FreeList>& lists);

// "native", "cudaMallocAsync", "no caching" or "pluggable"; "" for a process without PyTorch.
const char* AllocatorName(const Timeline& timeline);

// Whether the process ran with the allocator that the model follows: not the cudaMallocAsync backend, and with caching.
bool UsesCachingAllocator(const Timeline& timeline);

// The settings that the recorded process ran with.
AllocatorConfig RecordedConfig(const Timeline& timeline);

}  // namespace oomtrace
