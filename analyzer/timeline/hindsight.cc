#include "analyzer/timeline/hindsight.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace oomtrace {

void RelabelFunctionalForwards(const std::vector<int64_t>& functional_backwards, Timeline* timeline) {
  if (functional_backwards.empty()) return;
  const auto& passes = timeline->backward_passes;
  for (Tensor& tensor : timeline->tensors) {
    if (tensor.died_phase != PhaseKind::kBackward || tensor.died == kNever || !tensor.grad_mode) continue;
    if (tensor.phase != PhaseKind::kSetUp && tensor.phase != PhaseKind::kBetweenSteps) continue;
    const auto after = std::upper_bound(passes.begin(), passes.end(), tensor.died,
                                        [](int64_t time, const BackwardPass& pass) { return time < pass.begin; });
    if (after == passes.begin() || tensor.host_copied) continue;
    const int64_t begin = std::prev(after)->begin;
    if (std::binary_search(functional_backwards.begin(), functional_backwards.end(), begin)) {
      tensor.phase = PhaseKind::kForward;
    }
  }
  for (OutOfMemory& refusal : timeline->out_of_memory) {
    const bool functional_before = functional_backwards.front() < refusal.time;
    if (functional_before && refusal.phase == PhaseKind::kBetweenSteps && refusal.grad_mode) {
      refusal.phase = PhaseKind::kForward;
    }
  }
}

std::string EndedBy(const Timeline& timeline) {
  constexpr absl::string_view kNote = "ended by ";
  for (const std::string& note : timeline.notes) {
    if (absl::StartsWith(note, kNote)) return note.substr(kNote.size());
  }
  return "";
}

void MarkFatalRefusal(int64_t last_progress, Timeline* timeline) {
  if (timeline->out_of_memory.empty()) return;
  OutOfMemory& last = timeline->out_of_memory.back();
  const bool ended_well = timeline->exited && timeline->exit_status == 0;
  const bool ended_of_it = !ended_well && absl::StrContains(EndedBy(*timeline), "OutOfMemoryError");
  last.fatal = last.time >= last_progress || ended_of_it;
  if (last.fatal) return;
  for (OutOfMemory& refusal : timeline->out_of_memory) {
    if (refusal.thread_failed == kNever) continue;
    refusal.fatal = true;
    return;
  }
}

void SetFirstTrainingForward(Timeline* timeline) {
  for (const Tensor& tensor : timeline->tensors) {
    if (tensor.phase != PhaseKind::kForward) continue;
    timeline->first_training_forward = tensor.born;
    break;
  }
  for (const OutOfMemory& refusal : timeline->out_of_memory) {
    if (refusal.phase != PhaseKind::kForward) continue;
    timeline->first_training_forward = std::min(timeline->first_training_forward, refusal.time);
    break;
  }
}

}  // namespace oomtrace
