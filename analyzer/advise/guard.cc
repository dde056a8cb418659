#include "analyzer/advise/guard.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "analyzer/advise/input_sizes.h"

namespace oomtrace {
namespace {

// Steps that show a trend; of them nine in ten have to rise.
constexpr int64_t kTrendSteps = 10;

bool RefusedCarries(const Advisor& a) {
  const OutOfMemory& oom = *a.facts().oom;
  if (oom.layout == 0) return false;
  return IsTraining(oom.phase) && a.predictor().carriers().Carries(a.t().layouts[oom.layout].shape);
}

struct Live {
  int64_t carrying = 0;  // bytes that shrink with the micro-batch, the refused tensor among them
  int64_t fixed = 0;
};

Live Split(const Advisor& a) {
  Live live;
  for (const uint32_t i : a.facts().live) {
    const Tensor& tensor = a.t().tensors[i];
    (a.predictor().carriers().Carries(tensor) ? live.carrying : live.fixed) += tensor.bytes;
  }
  (RefusedCarries(a) ? live.carrying : live.fixed) += a.facts().refused;
  return live;
}

// What the first optimizer step had still to make when it died: state, and in the foreach form one temporary of each
// parameter (AdamW's denominators) beside it.
int64_t StateToCome(const Advisor& a) {
  if (a.facts().oom->phase != PhaseKind::kOptimizerStep || a.facts().steady) return 0;
  const States& states = a.predictor().states();
  const int64_t born = a.facts().category[static_cast<int>(Category::kOptimizerState)];
  return std::max<int64_t>(0, states.optimizer - born) + states.step_temporaries;
}

// What PyTorch had reserved before the first evaluation that came after training began, and what training needed.
int64_t TrainingAlone(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  int64_t begin = facts.moment;
  for (const PhaseMark& mark : t.phases) {
    if (mark.phase != PhaseKind::kEvaluation || mark.time < t.first_training_forward) continue;
    begin = mark.time;
    break;
  }
  int64_t peak = 0;
  for (const PhaseKind phase : {PhaseKind::kForward, PhaseKind::kBackward, PhaseKind::kOptimizerStep}) {
    peak = std::max(peak, PeakInPhase(t, phase, 0, facts.moment));
  }
  for (const Sample& sample : t.samples) {
    if (sample.time >= begin) break;
    peak = std::max(peak, sample.reserved);
  }
  return peak;
}

int64_t MicroBatchOf(const report::Fix& fix) {
  int64_t size = 0;
  const std::string& title = fix.title();
  const size_t digits = title.find_first_of("0123456789");
  if (digits != std::string::npos && !absl::SimpleAtoi(title.substr(digits, title.find(' ', digits) - digits), &size))
    return 0;
  return size;
}

int64_t Floor(const Advisor& a, const report::Fix& fix) {
  const std::string& id = fix.id();
  const Live live = Split(a);
  const States& states = a.predictor().states();
  const double batch = static_cast<double>(std::max<int64_t>(1, a.predictor().batch().size));
  if (id == "expandable_segments") return a.facts().need() + StateToCome(a);
  if (id == "micro_batch" || id == "micro_batch_expandable_segments") {
    const double share = std::min(1.0, static_cast<double>(MicroBatchOf(fix)) / batch);
    const auto carried = static_cast<int64_t>(share * static_cast<double>(live.carrying));
    return std::max(states.total(), live.fixed + StateToCome(a) + carried);
  }
  // A block's output stays of what the block keeps.
  if (id == "activation_checkpointing") return std::max(states.total(), live.fixed + live.carrying / 4);
  if (id == "chunked_cross_entropy") return std::max(states.total(), live.fixed);
  if (id == "smaller_optimizer_state") {
    return std::max(states.total() - states.optimizer * 3 / 4,
                    a.facts().need() + StateToCome(a) - states.optimizer * 3 / 4);
  }
  const bool evaluation = a.facts().oom->phase == PhaseKind::kEvaluation;
  if (evaluation && (id == "no_grad" || id == "evaluation_batch")) return TrainingAlone(a.facts());
  return 0;
}

bool DependsOnBatch(const std::string& id) {
  return id == "micro_batch" || id == "micro_batch_expandable_segments" || id == "expandable_segments" ||
         id == "activation_checkpointing" || id == "chunked_cross_entropy";
}

}  // namespace

void ApplyFloors(Advisor& a) {
  if (!a.facts().oom) return;
  for (report::Fix& fix : a.fixes()) {
    const int64_t floor = Floor(a, fix);
    if (fix.predicted_peak() < floor) {
      fix.set_headroom(std::min(fix.headroom(), a.predictor().capacity() - floor));
      fix.set_predicted_peak(floor);
      fix.set_saving(std::max<int64_t>(0, a.killed_at() - floor));
      fix.set_basis("estimated");
      if (fix.headroom() < 0) {
        fix.set_fits(false);
        fix.clear_condition();
      }
    }
  }
  const std::string larger = DiedInIteration(a.facts()) ? IfNoLargerInput(a.facts()) : "";
  for (report::Fix& fix : a.fixes()) {
    if (DependsOnBatch(fix.id())) Conditional(fix, larger);
  }
  // A setting that leaves the tensors as they are helps only until they have grown a little more.
  if (NeedGrows(a.facts())) std::erase_if(a.fixes(), [](const auto& fix) { return fix.id() == "expandable_segments"; });
}

bool DiedInIteration(const Facts& facts) {
  return IsTraining(facts.oom->phase) || !facts.steady ||
         (facts.oom->phase == PhaseKind::kEvaluation && EvaluatesInEachStep(facts));
}

bool BatchMatters(const Advisor& a) {
  if (!DiedInIteration(a.facts())) return false;
  if (a.facts().oom->phase == PhaseKind::kEvaluation && a.facts().steady) return false;
  if (a.facts().oom->phase == PhaseKind::kOptimizerStep && a.facts().steady) return RefusedCarries(a);
  return true;
}

bool NeedGrows(const Facts& facts) {
  const std::vector<Step>& steps = facts.timeline->steps;
  const int64_t count = static_cast<int64_t>(steps.size());
  if (count < kTrendSteps + 1) return false;
  int64_t rises = 0;
  for (int64_t i = count - kTrendSteps; i < count; ++i) {
    if (steps[static_cast<size_t>(i)].peak > steps[static_cast<size_t>(i - 1)].peak) ++rises;
  }
  return 10 * rises >= 9 * kTrendSteps;
}

}  // namespace oomtrace
