// Optimizer steps and the micro-batches within them.
//
// A *step* is one turn of the training loop. It ends where an optimizer steps again that has stepped in it. Others join
// it: without a backward between (one optimizer for the matrices and one for the rest; one for each parameter, from
// gradient hooks), or, with a backward between, where they did so in the step before or in the very first (the two
// optimizers of a GAN). A new optimizer in a later stage of training so begins a step of its own. Where no optimizer is
// seen at all but backwards are (a hand-written update), each backward is a step, with optimizer 0.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

class StepLedger {
 public:
  // The program has an optimizer, which may not have stepped yet: backward passes until then are micro-batches of its
  // first step, and no steps themselves.
  void ExpectOptimizer() { any_optimizer_ = true; }

  // The memory of `device` in tensors, after each change.
  void OnMemory(int32_t device, int64_t bytes);

  void OnBackwardBegin(int64_t time);  // the outermost
  void OnBackwardEnd(int64_t time);
  void OnOptimizerBegin(int64_t time, uint64_t optimizer);
  void OnOptimizerEnd(int64_t time, uint64_t optimizer);

  // The completed steps, with the memory of `device`.
  std::vector<Step> Steps(int32_t device) const;

  const std::vector<BackwardPass>& backward_passes() const { return backward_passes_; }

 private:
  struct DeviceMemory {
    int32_t device = 0;
    int64_t live = 0;
    int64_t peak = 0;  // since the boundary before
  };
  // An end of a backward or of an optimizer's step.
  struct Boundary {
    int64_t time = 0;
    int64_t begin = 0;  // of what ends here
    uint64_t optimizer = 0;
    bool backward = false;
    int64_t backwards = 0;  // begun before
    std::vector<DeviceMemory> memory;
  };
  struct Group {
    size_t first = 0;  // boundaries_[first] to [last]: the optimizers that step, and what stands between them
    size_t last = 0;
  };

  void AddBoundary(int64_t begin, int64_t time, uint64_t optimizer, bool backward);
  std::vector<Group> Groups() const;

  std::vector<Boundary> boundaries_;
  std::vector<DeviceMemory> memory_;
  std::vector<BackwardPass> backward_passes_;
  absl::flat_hash_map<uint64_t, int64_t> stepping_since_;
  bool any_optimizer_ = false;
};

// Backward passes completed since the last step, at `time`; `step`: steps that had ended by then.
int64_t MicroBatch(const Timeline& timeline, int64_t step, int64_t time);

// Sets step and micro_batch of the tensors (at birth and death) and of the refusals of `timeline`, from its steps and
// backward passes.
void NumberSteps(Timeline* timeline);

}  // namespace oomtrace
