// What a window saw one statement make of one shape, step after step: such tensors have the same fate.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Points into the timeline.
class Likes {
 public:
  Likes(const Timeline& timeline, const GpuTime::Window& window);

  // The tensors of `step` that are like the one at `index` in Timeline::tensors. A statement may make several in a
  // step: the second of them is like the second of another step. Where another step made another number, each of them.
  std::vector<uint32_t> In(int64_t step, uint32_t index) const;

  // In which the window saw something being made.
  int64_t first_step() const { return first_step_; }
  int64_t last_step() const { return last_step_; }

 private:
  const std::vector<Tensor>& tensors_;
  absl::flat_hash_map<uint64_t, std::vector<uint32_t>> made_;  // in order of birth, by stack and layout
  int64_t first_step_ = kNever;
  int64_t last_step_ = 0;
};

}  // namespace oomtrace
