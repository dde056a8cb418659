#include "cli/trial_watch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "analyzer/read/trace_reader.h"
#include "analyzer/timeline/phase_machine.h"
#include "analyzer/timeline/steps.h"
#include "analyzer/timeline/timeline_builder.h"
#include "cli/trace_files.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

// Those of an optimizer. Until the first of them each backward pass looks like a step of a hand-written update, and
// with gradient accumulation there may be hundreds.
int64_t OptimizerSteps(const std::vector<Step>& steps) {
  return std::count_if(steps.begin(), steps.end(), [](const Step& step) { return step.optimizer != 0; });
}

// With those that are in summaries only.
int64_t AllSteps(const Timeline& timeline) {
  const int64_t known = OptimizerSteps(timeline.steps);
  return known == 0 ? 0 : known + timeline.lost_steps;
}

// Counts steps alone, as the timeline does, but without the rest of it, which costs more than a small step.
class StepCount : public EventSink {
 public:
  void OnPhase(const PhaseEvent& event) override {
    const bool before = machine_.phase() == PhaseKind::kBackward;
    machine_.OnPhase(event);
    const bool after = machine_.phase() == PhaseKind::kBackward;
    if (before && !after) ledger_.OnBackwardEnd(event.time);
    if (!before && after) ledger_.OnBackwardBegin(event.time);
    if (event.kind == trace::Phase::OPTIMIZER_STEP_BEGIN) ledger_.OnOptimizerBegin(event.time, event.object);
    if (event.kind == trace::Phase::OPTIMIZER_STEP_END) ledger_.OnOptimizerEnd(event.time, event.object);
  }
  void OnFoldedSteps(const FoldedStepsEvent& event) override { folded_ = true; }

  int64_t steps() const { return OptimizerSteps(ledger_.Steps(0)); }
  // Earlier steps are in summaries: only the timeline knows how many.
  bool folded() const { return folded_; }

 private:
  PhaseMachine machine_{{}};
  StepLedger ledger_;
  bool folded_ = false;
};

// Steps completed, and how many ranks the job has; nothing where the trace cannot be read yet.
struct HowFar {
  int64_t steps = 0;
  int64_t ranks = 1;
};

std::optional<HowFar> ProgressOf(const fs::path& trace) {
  const auto reader = TraceReader::Open(trace.string());
  if (!reader.ok()) return std::nullopt;
  StepCount count;
  (*reader)->ReadEvents(&count);
  HowFar progress{count.steps(), 1};
  if (count.folded()) {
    const Timeline timeline = BuildTimeline(reader->get());
    progress.steps = AllSteps(timeline);
  }
  for (const std::string& variable : (*reader)->tables().process.environment()) {
    int64_t ranks = 0;
    if (variable.starts_with("WORLD_SIZE=") && absl::SimpleAtoi(variable.substr(11), &ranks)) progress.ranks = ranks;
  }
  return progress;
}

// Whether an evaluation has ended after the first step.
bool EvaluatedIn(const fs::path& trace) {
  const absl::StatusOr<Timeline> timeline = ReadTimeline(trace.string());
  if (!timeline.ok() || AllSteps(*timeline) == 0) return false;
  const int64_t first = timeline->lost_steps > 0 ? 0 : timeline->steps.front().end;
  bool evaluating = false;
  for (const PhaseMark& mark : timeline->phases) {
    evaluating |= mark.phase == PhaseKind::kEvaluation && mark.time >= first;
    // What is outside of all modules does not end an evaluation: the training that goes on does.
    if (evaluating && (mark.phase == PhaseKind::kForward || mark.phase == PhaseKind::kBackward)) return true;
  }
  return evaluating && timeline->exited;
}

}  // namespace

bool TrialWatch::Reached(const TrialGoal& goal) const {
  int64_t ranks = 1, there = 0;
  for (const fs::path& trace : TracesIn(folder_)) {
    const std::optional<HowFar> progress = ProgressOf(trace);
    if (!progress) continue;
    ranks = std::max(ranks, progress->ranks);
    if (progress->steps >= goal.steps && (!goal.evaluation || EvaluatedIn(trace))) ++there;
  }
  return there >= ranks;
}

bool TrialWatch::Evaluated() const {
  const std::vector<fs::path> traces = TracesIn(folder_);
  return std::any_of(traces.begin(), traces.end(), EvaluatedIn);
}

}  // namespace oomtrace
