// The trace's tables as the timeline holds them: dense vectors, index 0 for "none".
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/tables.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct AllocationContext {  // of trace::Context
  bool grad_mode = false;
  bool inference_mode = false;
  bool backward = false;
  uint32_t node = 0;           // index into Timeline::strings
  uint32_t forward_stack = 0;  // index into Timeline::stacks
  int64_t stream = 0;          // c10::StreamId
  std::string buffer;          // what a block without a layout is, "" where it is not known
};

class Interned {
 public:
  // Fills the strings, frames, stacks, layouts, modules, optimizers, devices, hooks, notes and the process of
  // `timeline`.
  Interned(const Tables& tables, Timeline* timeline);

  // Index of what the trace calls by this id; 0 where the trace does not define it.
  uint32_t Stack(uint32_t id) const { return Index(stacks_, id); }
  uint32_t Layout(uint32_t id) const { return Index(layouts_, id); }
  const AllocationContext& Context(uint32_t id) const;

 private:
  using Indices = absl::flat_hash_map<uint32_t, uint32_t>;

  static uint32_t Index(const Indices& indices, uint32_t id) {
    const auto found = indices.find(id);
    return found == indices.end() ? 0 : found->second;
  }

  void AddStacks(const Tables& tables, Timeline* timeline);
  void AddLayouts(const Tables& tables, Timeline* timeline);
  void AddContexts(const Tables& tables, Timeline* timeline);

  Indices stacks_;
  Indices layouts_;
  absl::flat_hash_map<uint32_t, AllocationContext> contexts_;
};

// "N5torch8autograd9generated11MmBackward0E" → "MmBackward0".
std::string NodeName(const std::string& mangled);

}  // namespace oomtrace
