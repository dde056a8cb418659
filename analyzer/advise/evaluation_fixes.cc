#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/evaluation_graphs.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

void DropKeptOutputs(Advisor& a) {
  const KeptOutputs& kept = a.d().kept;
  const Facts& facts = a.facts();
  // Two batches' worth stays: the one in work and the one on its way. Joining happens on the CPU then.
  const int64_t need = facts.need() - kept.bytes - (kept.joining ? facts.refused : 0) + 2 * kept.per_batch;
  // A death inside the model has its forward still to finish, as the batches before it did.
  int64_t reached = 0;
  for (const Sample& sample : a.t().samples) {
    if (sample.time >= a.t().tensors[kept.first].born) break;
    reached = std::max(reached, sample.tensors);
  }
  const Prediction p = a.predictor().Of(std::max(need, reached), a.predictor().expandable_recorded());
  const std::string what =
      kept.holder.empty()
          ? absl::StrCat("the result of ", ShortSite(CallOfModel(a.t(), a.t().tensors[kept.example].stack)))
          : Container(kept.holder);
  a.Add("move_to_cpu", "Do not keep the evaluation's outputs on the GPU",
        absl::StrCat("store .cpu() of each tensor that ends up in ", what,
                     ", or only what the metric needs of it (a sum, the argmax); they grow by ", Bytes(kept.per_batch),
                     " a batch, whatever the batch size, with the data set"),
        p, "a copy to host memory for each batch");
}

void EmptyKvCache(Advisor& a) {
  const KvGrowth& kv = a.d().kv;
  const std::string name = kv.holder.empty() ? "the cache" : kv.holder.substr(0, kv.holder.find(" ("));
  if (kv.never_emptied()) {
    // One prompt's worth, and as much again while it is copied to grow.
    const Prediction p =
        a.predictor().Of(a.facts().need() - kv.bytes + 2 * kv.bytes / kv.requests, a.predictor().expandable_recorded());
    a.Add(
        "bound_kv_cache", "Empty the cache of keys and values before each prompt",
        absl::StrCat("set ", name, ", and those of the other layers, to None (or make a new cache object) when a new ",
                     "prompt begins; it has gathered ", kv.requests, " prompts"),
        p, "none: a new prompt has no use for the keys of the last one");
    return;
  }
  // Half of the positions.
  const Prediction p = a.predictor().Of(a.facts().need() - kv.bytes / 2, a.predictor().expandable_recorded());
  a.Add(
      "bound_kv_cache", "Bound the cache of keys and values",
      absl::StrCat("let ", name, " keep ", kv.positions / 2, " positions at most, where it had reached ", kv.positions,
                   " (fewer new tokens, or only the newest keys and values); if it should have been "
                   "emptied before, empty it"),
      p, "what is older is not attended to");
}

namespace {

// Batches that an evaluation may have to come: not on record. So many times as many as it had are taken for enough
// where nothing shows that it keeps results, and where a holder does.
constexpr int64_t kBatchesToCome = 10, kBatchesToComeKept = 100;
constexpr char kNoSkips[] = "if no layer's output is read again much later (skip connections)";

// What each further batch keeps is room that the rest of the evaluation must not need. "": there is enough.
std::string IfOutputsFit(const EvaluationGraphs& graphs, const Prediction& p) {
  if (graphs.output_per_batch == 0) return "";
  // As much again is made where they are joined at the end.
  const int64_t more = std::max<int64_t>(0, p.headroom) / (2 * graphs.output_per_batch);
  const int64_t enough = graphs.keeps_outputs ? kBatchesToComeKept : kBatchesToCome;
  if (more >= enough * (graphs.batches + 1)) return "";
  return absl::StrCat("if no more than ", more, more == 1 ? " batch is" : " batches are",
                      " to come, or none of their results (", Bytes(graphs.output_per_batch),
                      " each) stays on the GPU");
}

}  // namespace

void StopEvaluationGraphs(Advisor& a) {
  if (!a.Has("evaluation_without_no_grad")) return;
  const EvaluationGraphs& graphs = a.predictor().evaluation_graphs();
  const std::string no_grad =
      absl::StrCat("put the ", a.t().first_training_forward > a.facts().moment ? "forward passes" : "evaluation",
                   " around ", a.Where(), " under torch.no_grad() or torch.inference_mode()");
  // A whole batch on record shows the most that one can need. Of a batch that is not whole nobody knows what is read
  // again much later, as skip connections do: half of what it made is allowed for.
  const Prediction p = a.predictor().WithLives(graphs.as_chain);
  const bool bounded = graphs.batches > 0 && a.predictor().WithLives(graphs.without_graphs).fits;
  const bool roomy = p.fits && p.headroom >= graphs.in_work / 2;
  const std::string condition = bounded || roomy ? IfOutputsFit(graphs, p) : kNoSkips;
  Conditional(a.Add("no_grad", "Run it without gradients", no_grad, p, "none"), condition);
  const std::string container = graphs.holder.empty() ? "a list or a sum" : graphs.holder;
  if (p.fits && !condition.empty() && (graphs.keeps_outputs || (graphs.gathers && a.Worth(graphs.outputs)))) {
    report::Fix& both = a.Add("move_to_cpu", "Run it without gradients, and keep no results on the GPU",
                              absl::StrCat(no_grad, ", and put .cpu() of each result into ", container,
                                           " (of a part of one: .clone().cpu(), for a view keeps the whole tensor)"),
                              a.predictor().WithLives(graphs.without_outputs), "a copy to host memory for each batch");
    if (!bounded && !roomy) Conditional(both, kNoSkips);
  }
  if (!graphs.gathers) return;
  const Prediction let_go = a.predictor().WithLives(graphs.let_go);
  report::Fix& numbers = a.Add("detach", "Keep numbers, not graphs",
                               absl::StrCat("the graphs of ", Count(graphs.batches, "batch"), " are kept, by ",
                                            container, ": where results or losses are gathered after ", a.Where(),
                                            ", use .item() or .detach(); a smaller batch changes nothing of the sum"),
                               let_go, "none");
  Conditional(numbers, IfOutputsFit(graphs, let_go));
}

void ShrinkEvaluation(Advisor& a) {
  StopEvaluationGraphs(a);
  // The sum over all batches is the same, whatever their size.
  if (a.Has("evaluation_without_no_grad") && a.predictor().evaluation_graphs().gathers) return;
  const int64_t size = a.predictor().batch().size;
  const bool flag_is_batch = a.flags().evaluation_batch && a.flags().evaluation_batch->value == size;
  for (int64_t smaller = size / 2; smaller >= 1; smaller /= 2) {
    const Prediction p = a.predictor().Evaluation(smaller);
    if (!p.fits && smaller > 1) continue;
    const std::string change = flag_is_batch ? absl::StrCat("run with ", a.flags().evaluation_batch->With(smaller))
                                             : absl::StrCat("in the evaluation around ", a.Where(), ", use batches of ",
                                                            smaller, " instead of ", size);
    report::Fix& fix = a.Add("evaluation_batch", absl::StrCat("Evaluate in batches of ", smaller), change, p,
                             "a slower evaluation; training is unchanged");
    if (flag_is_batch) AddFlag(fix, *a.flags().evaluation_batch, smaller);
    AddSetting(fix, "value", "eval_batch_size", absl::StrCat(smaller));
    // Of a first batch nobody knows whether its graph outlives it.
    if (a.Has("evaluation_without_no_grad") && a.predictor().evaluation_graphs().batches == 0)
      Conditional(fix, "if nothing keeps the graph of each batch, as a running sum of losses does");
    break;
  }
}

}  // namespace oomtrace
