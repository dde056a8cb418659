#include "analyzer/timeline/hindsight.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "analyzer/timeline/models.h"

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

namespace {

constexpr size_t kFewestBatches = 3;

// Marks of what was evaluated without training between, as indices into Timeline::phases; the gap behind the last
// batch included.
struct Evaluation {
  size_t first = 0;
  size_t end = 0;         // the mark after them
  size_t last_batch = 0;  // the last one that entered a module
  size_t batches = 0;
};

std::vector<Evaluation> Evaluations(const std::vector<PhaseMark>& marks) {
  std::vector<Evaluation> found;
  Evaluation now;
  for (size_t i = 0; i <= marks.size(); ++i) {
    const PhaseKind phase = i < marks.size() ? marks[i].phase : PhaseKind::kForward;
    if (phase == PhaseKind::kEvaluation) {
      if (now.batches++ == 0) now.first = i;
      now.last_batch = i;
    } else if (phase != PhaseKind::kBetweenSteps) {
      now.end = i;
      if (now.batches >= kFewestBatches) found.push_back(now);
      now = Evaluation();
    }
  }
  return found;
}

}  // namespace

void JoinEvaluations(Timeline* timeline) {
  std::vector<PhaseMark>& marks = timeline->phases;
  for (const Evaluation& evaluation : Evaluations(marks)) {
    const int64_t begin = marks[evaluation.first].time;
    const int64_t last_batch = marks[evaluation.last_batch].time;
    const int64_t end = evaluation.end < marks.size() ? marks[evaluation.end].time : kNever;
    std::set<uint32_t> statements;
    const auto joins = [&](int64_t time, uint32_t stack) { return time < last_batch || statements.contains(stack); };
    auto tensor = std::lower_bound(timeline->tensors.begin(), timeline->tensors.end(), begin,
                                   [](const Tensor& at, int64_t time) { return at.born < time; });
    for (; tensor != timeline->tensors.end() && tensor->born < end; ++tensor) {
      if (tensor->phase != PhaseKind::kBetweenSteps || !joins(tensor->born, tensor->stack)) continue;
      tensor->phase = PhaseKind::kEvaluation;
      statements.insert(tensor->stack);
    }
    bool goes_on = false;
    for (OutOfMemory& refusal : timeline->out_of_memory) {
      if (refusal.time < begin || refusal.time >= end || refusal.phase != PhaseKind::kBetweenSteps) continue;
      if (!joins(refusal.time, refusal.stack)) continue;
      refusal.phase = PhaseKind::kEvaluation;
      goes_on = true;
    }
    const size_t joined = goes_on ? evaluation.end : evaluation.last_batch;
    for (size_t i = evaluation.first; i < joined; ++i) marks[i].phase = PhaseKind::kEvaluation;
  }
}

namespace {

// More calls of a network than the views of a batch that a teacher is shown one by one.
constexpr int64_t kMostViews = 2;

// Whether the modules that ran in [begin, death] are all of networks that nobody trains, each called no more often than
// a batch needs. What is made at once, with nothing else between, is of one call.
bool OnlyUntrainedRan(const Timeline& timeline, const OutOfMemory& death, int64_t begin) {
  const Models models(timeline);
  std::map<uint32_t, int64_t> calls;  // by the stack of the first tensor of each network
  std::set<uint64_t> ran;
  uint32_t before = 0;
  const auto untrained = [&](uint32_t stack) {
    const uint64_t root = timeline.stacks[stack].root_module;
    if (root != 0 && ran.insert(root).second) calls[stack] = 0;
    return root == 0 || models.Untrained(root);
  };
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.born < begin || tensor.device != death.device) continue;
    if (tensor.born > death.time) break;
    if (!untrained(tensor.stack)) return false;
    const auto call = calls.find(tensor.stack);
    if (call != calls.end() && tensor.stack != before && ++call->second > kMostViews) return false;
    before = tensor.stack;
  }
  return untrained(death.stack) && !ran.empty();
}

// Whether a module ran in [begin, death], called from where a training forward, known by its backward, called it.
bool RanInTrainingBefore(const Timeline& timeline, const OutOfMemory& death, int64_t begin) {
  std::set<uint32_t> trained;
  const auto in_module = [&](uint32_t stack) { return timeline.stacks[stack].root_module != 0; };
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.born > death.time) break;
    if (tensor.born < begin && tensor.phase == PhaseKind::kForward && tensor.grad_mode && in_module(tensor.stack))
      trained.insert(tensor.stack);
    if (tensor.born >= begin && tensor.grad_mode && trained.contains(tensor.stack)) return true;
  }
  return trained.contains(death.stack);
}

// The stretch that `mark` begins, up to `end`, was a training forward.
void CallForward(int64_t end, Timeline* timeline, PhaseMark* mark) {
  mark->phase = PhaseKind::kForward;
  auto tensor = std::lower_bound(timeline->tensors.begin(), timeline->tensors.end(), mark->time,
                                 [](const Tensor& at, int64_t time) { return at.born < time; });
  for (; tensor != timeline->tensors.end() && tensor->born < end; ++tensor)
    if (tensor->phase == PhaseKind::kEvaluation) tensor->phase = PhaseKind::kForward;
}

// What a module made in evaluation mode and a backward let go of was in the graph of that backward.
void RelabelWhatBackwardsUsed(Timeline* timeline) {
  std::vector<PhaseMark>& marks = timeline->phases;
  size_t next = 0;
  for (const Tensor& tensor : timeline->tensors) {
    if (tensor.phase != PhaseKind::kEvaluation || !tensor.grad_mode || tensor.died == kNever) continue;
    if (tensor.died_phase != PhaseKind::kBackward || timeline->stacks[tensor.stack].root_module == 0) continue;
    while (next + 1 < marks.size() && marks[next + 1].time <= tensor.born) ++next;
    if (next >= marks.size() || marks[next].phase != PhaseKind::kEvaluation) continue;
    CallForward(next + 1 < marks.size() ? marks[next + 1].time : kNever, timeline, &marks[next]);
  }
}

}  // namespace

void RelabelForwardInEvaluationMode(Timeline* timeline) {
  RelabelWhatBackwardsUsed(timeline);
  const auto fatal = std::find_if(timeline->out_of_memory.begin(), timeline->out_of_memory.end(),
                                  [](const OutOfMemory& refusal) { return refusal.fatal; });
  if (fatal == timeline->out_of_memory.end() || fatal->phase != PhaseKind::kEvaluation || !fatal->grad_mode) return;
  const auto mark = std::find_if(timeline->phases.rbegin(), timeline->phases.rend(),
                                 [&](const PhaseMark& at) { return at.time <= fatal->time; });
  if (mark == timeline->phases.rend()) return;
  const int64_t begin = mark->time;
  if (!RanInTrainingBefore(*timeline, *fatal, begin) && !OnlyUntrainedRan(*timeline, *fatal, begin)) return;
  fatal->phase = PhaseKind::kForward;
  CallForward(kNever, timeline, &*mark);
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
