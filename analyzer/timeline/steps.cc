#include "analyzer/timeline/steps.h"

#include <algorithm>
#include <utility>

#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

int64_t BackwardsEnded(const Timeline& timeline, int64_t time) {
  // Passes that never ended stand last or were overtaken by an exception: they count once the next one begins.
  const auto& passes = timeline.backward_passes;
  const auto after = std::upper_bound(passes.begin(), passes.end(), time,
                                      [](int64_t at, const BackwardPass& pass) { return at < pass.begin; });
  int64_t count = after - passes.begin();
  if (count > 0 && passes[static_cast<size_t>(count) - 1].end > time) --count;
  return count;
}

}  // namespace

int64_t MicroBatch(const Timeline& timeline, int64_t step, int64_t time) {
  const int64_t begin = step == 0 ? 0 : timeline.steps[static_cast<size_t>(step) - 1].end;
  return BackwardsEnded(timeline, time) - BackwardsEnded(timeline, begin);
}

void StepLedger::OnMemory(int32_t device, int64_t bytes) {
  for (DeviceMemory& memory : memory_) {
    if (memory.device != device) continue;
    memory.live = bytes;
    memory.peak = std::max(memory.peak, bytes);
    return;
  }
  memory_.push_back({device, bytes, bytes});
}

void StepLedger::AddBoundary(int64_t begin, int64_t time, uint64_t optimizer, bool backward) {
  boundaries_.push_back({.time = time,
                         .begin = begin,
                         .optimizer = optimizer,
                         .backward = backward,
                         .backwards = static_cast<int64_t>(backward_passes_.size()),
                         .memory = memory_});
  for (DeviceMemory& memory : memory_) memory.peak = memory.live;
}

void StepLedger::OnBackwardBegin(int64_t time) { backward_passes_.push_back({time, kNever}); }

void StepLedger::OnBackwardEnd(int64_t time) {
  if (backward_passes_.empty() || backward_passes_.back().end != kNever) return;
  backward_passes_.back().end = time;
  AddBoundary(backward_passes_.back().begin, time, 0, /*backward=*/true);
}

void StepLedger::OnOptimizerBegin(int64_t time, uint64_t optimizer) {
  any_optimizer_ = true;
  stepping_since_[optimizer] = time;
}

void StepLedger::OnOptimizerEnd(int64_t time, uint64_t optimizer) {
  const auto since = stepping_since_.find(optimizer);
  if (since == stepping_since_.end()) return;
  AddBoundary(since->second, time, optimizer, /*backward=*/false);
  stepping_since_.erase(since);
}

std::vector<StepLedger::Group> StepLedger::Groups() const {
  std::vector<Group> groups;
  std::vector<uint64_t> members, members_before;  // optimizers of the last group and of the one before
  bool backward_between = false;
  const auto among = [](const std::vector<uint64_t>& list, uint64_t optimizer) {
    return std::find(list.begin(), list.end(), optimizer) != list.end();
  };
  for (size_t i = 0; i < boundaries_.size(); ++i) {
    const Boundary& boundary = boundaries_[i];
    if (boundary.backward) {
      backward_between = true;
      if (!any_optimizer_) groups.push_back({i, i});
      continue;
    }
    const bool alternates = groups.size() == 1 || among(members_before, boundary.optimizer);
    const bool joins = !groups.empty() && !among(members, boundary.optimizer) && (!backward_between || alternates);
    if (!joins) {
      groups.push_back({i, i});
      members_before = std::exchange(members, {});
    }
    groups.back().last = i;
    members.push_back(boundary.optimizer);
    backward_between = false;
  }
  return groups;
}

std::vector<Step> StepLedger::Steps(int32_t device) const {
  std::vector<Step> steps;
  size_t next = 0;  // the first boundary after the step before
  int64_t backwards = 0;
  for (const Group& group : Groups()) {
    const Boundary& last = boundaries_[group.last];
    Step step;
    step.begin = steps.empty() ? 0 : steps.back().end;
    step.optimizer_begin = boundaries_[group.first].begin;
    step.end = last.time;
    step.micro_batches = last.backwards - backwards;
    step.optimizer = boundaries_[group.first].optimizer;
    for (; next <= group.last; ++next) {
      for (const DeviceMemory& memory : boundaries_[next].memory) {
        if (memory.device != device) continue;
        step.peak = std::max(step.peak, memory.peak);
        step.live_at_end = memory.live;
      }
    }
    backwards = last.backwards;
    steps.push_back(step);
  }
  return steps;
}

void NumberSteps(Timeline* timeline) {
  for (Tensor& tensor : timeline->tensors) {
    tensor.step = StepsEndedBy(*timeline, tensor.born);
    tensor.micro_batch = static_cast<int32_t>(MicroBatch(*timeline, tensor.step, tensor.born));
    tensor.died_step = tensor.died == kNever ? -1 : StepsEndedBy(*timeline, tensor.died);
  }
  for (OutOfMemory& refusal : timeline->out_of_memory) {
    refusal.step = StepsEndedBy(*timeline, refusal.time);
    refusal.micro_batch = MicroBatch(*timeline, refusal.step, refusal.time);
  }
}

}  // namespace oomtrace
