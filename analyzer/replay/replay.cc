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

void SetPrivateLists(const std::vector<FreeList>& lists, CachingAllocator* allocator) {
  for (uint32_t i = 0; i < lists.size(); ++i)
    if (lists[i].pool != 0) allocator->SetPrivate(i);
}

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

}  // namespace oomtrace
