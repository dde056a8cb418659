#include "analyzer/advise/advise.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/advise/guard.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

void Collect(Advisor& a) {
  const std::string& pattern = a.d().pattern.name;
  if (!a.facts().oom) {
    if (a.d().leak.found && a.d().leak.boundaries_are_steps) StopLeak(a);
    return;
  }
  DropDeadWeight(a);
  if (a.d().pools.decides) {
    SharePools(a);
    KeepFewerGraphs(a);
    return;
  }
  if (pattern == "gradual_leak") {
    StopLeak(a);
    return;
  }
  if (a.Has("accumulating_autograd_graph") || a.Has("accumulating_tensors")) StopLeak(a);
  FreeOthers(a);
  RaiseLimit(a);
  FreeCupyPool(a);
  ReleasePools(a);
  SharePools(a);
  if (a.d().kept.found) {
    DropKeptOutputs(a);
    return;
  }
  if (a.d().kv.found) {
    EmptyKvCache(a);
    if (a.d().kv.never_emptied()) return;
  }
  if (pattern == "eval_spike" || a.d().kv.found) {
    ShrinkEvaluation(a);
    return;
  }
  if (a.Has("data_on_card")) {
    KeepDataOnHost(a);
    return;
  }
  if (a.facts().oom->phase == PhaseKind::kEvaluation && a.predictor().states().run_only) {
    ShrinkEvaluation(a);
    GrowSegments(a);
    return;
  }
  StopEvaluationGraphs(a);
  FreezeUntrained(a);
  if (pattern == "batch_outlier") BoundBatch(a);
  if (pattern == "late_allocation") MoveLateAllocation(a);
  if (a.ParametersExceedCard()) {
    FitParameters(a);
    return;
  }
  if (a.StatesExceedCard()) {
    FitStates(a);
    ShrinkOptimizerState(a);
    return;
  }
  if (DiedInIteration(a.facts())) {
    GrowSegments(a);
    if (BatchMatters(a)) ShrinkMicroBatch(a);
    ChunkLogits(a);
    Checkpoint(a);
  }
  ShrinkOptimizerState(a);
  StepWithoutTemporaries(a);
}

// What misses by more than a quarter of the card is no help, nor is what saves next to nothing and does not fit.
// The smallest micro-batch stays: that not even it fits is worth knowing.
void DropHopeless(Advisor& a) {
  std::erase_if(a.fixes(), [&](const report::Fix& fix) {
    if (fix.fits() || !fix.condition().empty()) return false;
    if (fix.id() == "micro_batch")
      return a.predictor().demand().carrying > 0 && !a.Worth(a.predictor().demand().carrying);
    if (a.StatesExceedCard()) return false;
    return 4 * -fix.headroom() > a.facts().device.total() || !a.Worth(fix.saving());
  });
}

// Why there is nothing to type or edit.
std::string WhyNone(const Advisor& a, const std::vector<report::Fix>& dropped) {
  const Facts& facts = a.facts();
  if (facts.refused > a.predictor().capacity()) {
    return absl::StrCat("what was asked for at ", a.Where(), ", ", Bytes(facts.refused),
                        ", is by itself more than the ", Bytes(a.predictor().capacity()),
                        " that this process can have. It has to be made smaller, in pieces, or on the CPU.");
  }
  if (a.Has("cache_out_of_reach")) {
    return absl::StrCat("what asked at ", a.Where(), " cannot have PyTorch's cache, of which ",
                        Bytes(facts.unallocated()),
                        " are idle. torch.cuda.empty_cache() before the call gives back what of that is in whole "
                        "segments; whether it is enough is not on record.");
  }
  const int64_t missing = facts.need() - a.predictor().capacity();
  std::string why = absl::StrCat(
      "the request at ", a.Where(), " came on top of ", Bytes(facts.device.tensors()), " in tensors (",
      missing > 0 ? absl::StrCat(Bytes(missing), " too much") : "enough room", missing > 0 ? ")" : ", but in pieces)",
      ", and the trace does not show which of them the program could do without.");
  if (dropped.empty()) return why;
  std::vector<std::string> tried;
  for (const report::Fix& fix : dropped)
    tried.push_back(absl::StrCat(fix.title(), " (", Bytes(-fix.headroom()), " too much)"));
  return absl::StrCat(why, " Far from enough: ", absl::StrJoin(tried, "; "), ".");
}

// The order of equal fit: a setting, a flag, an edit, somebody else's processes.
int Effort(const report::Fix& fix) {
  static const std::vector<std::string> kOrder = {"dead_weight",
                                                  "detach",
                                                  "drop_traceback",
                                                  "remove_hooks",
                                                  "break_cycle",
                                                  "finish_generators",
                                                  "drop_optimizers",
                                                  "drop_parameters",
                                                  "bound_queue",
                                                  "move_to_cpu",
                                                  "no_grad",
                                                  "bound_kv_cache",
                                                  "raise_memory_limit",
                                                  "share_private_pool",
                                                  "fewer_graphs",
                                                  "release_private_pools",
                                                  "fused_optimizer",
                                                  "expandable_segments",
                                                  "evaluation_batch",
                                                  "bound_batch",
                                                  "cupy_free_blocks",
                                                  "off_device",
                                                  "bound_container",
                                                  "micro_batch",
                                                  "micro_batch_expandable_segments",
                                                  "activation_checkpointing",
                                                  "chunked_cross_entropy",
                                                  "bf16_states",
                                                  "quantized_weights",
                                                  "smaller_optimizer_state",
                                                  "train_adapters",
                                                  "offload_optimizer",
                                                  "shard_states",
                                                  "offload_parameters",
                                                  "free_other_processes"};
  return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), fix.id()) - kOrder.begin());
}

void Rank(Advisor& a) {
  // What the pattern is about comes before what happens to fit as well.
  const std::string& pattern = a.d().pattern.name;
  const bool evaluation = a.facts().oom && a.facts().oom->phase == PhaseKind::kEvaluation;
  const auto first = [&](const report::Fix& fix) {
    return (pattern == "other_process" && fix.id() == "free_other_processes") ||
           (pattern == "late_allocation" && fix.id() == "off_device") ||
           (pattern == "batch_outlier" && fix.id() == "bound_batch") || (evaluation && fix.id() == "no_grad");
  };
  // A graph that nobody needs is not to be kept, whatever fits beside it: that comes first where it fits but for a
  // condition, too.
  const auto fits = [&](const report::Fix& fix) {
    return fix.fits() || (evaluation && fix.id() == "no_grad" && !fix.condition().empty());
  };
  std::stable_sort(a.fixes().begin(), a.fixes().end(), [&](const report::Fix& x, const report::Fix& y) {
    if (fits(x) != fits(y)) return fits(x);
    if (first(x) != first(y)) return first(x);
    return Effort(x) < Effort(y);
  });
}

}  // namespace

void Advise(Diagnosis& diagnosis) {
  if (WithoutTorch(*diagnosis.facts.timeline)) {
    AdviseDeviceProgram(diagnosis);
    return;
  }
  if (diagnosis.outside.decides) {
    diagnosis.report.set_no_fix(
        absl::StrCat(OutsideSentence(diagnosis.facts, diagnosis.outside.growth),
                     ". It has to give back what it took; whatever else is made smaller only puts the end off."));
    return;
  }
  Advisor advisor(diagnosis);
  Collect(advisor);
  ApplyFloors(advisor);
  const std::vector<report::Fix> before = advisor.fixes();
  DropHopeless(advisor);
  if (advisor.fixes().empty() && advisor.facts().oom) diagnosis.report.set_no_fix(WhyNone(advisor, before));
  Rank(advisor);
  for (report::Fix& fix : advisor.fixes()) *diagnosis.report.add_fixes() = std::move(fix);
}

}  // namespace oomtrace
