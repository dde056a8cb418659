#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

void ShrinkEvaluation(Advisor& a) {
  if (a.Has("evaluation_without_no_grad")) {
    int64_t kept = 0;
    for (const uint32_t i : a.facts().live) {
      const Tensor& tensor = a.t().tensors[i];
      if (tensor.phase == PhaseKind::kEvaluation && tensor.grad_mode && tensor.category != Category::kInput)
        kept += tensor.bytes;
    }
    // Without a graph a layer's output goes when the next one has read it: a few tensors of the largest size remain.
    int64_t largest = a.facts().refused;
    for (const uint32_t i : a.facts().live) {
      if (a.t().tensors[i].phase == PhaseKind::kEvaluation) largest = std::max(largest, a.t().tensors[i].bytes);
    }
    const Prediction p = a.predictor().Of(a.facts().need() - kept + 3 * largest, a.predictor().expandable_recorded());
    a.Add("no_grad", "Evaluate without gradients",
          absl::StrCat("put the evaluation around ", a.Where(), " under torch.no_grad() or torch.inference_mode()"), p,
          "none");
  }
  const int64_t size = a.predictor().batch().size;
  for (int64_t smaller = size / 2; smaller >= 1; smaller /= 2) {
    const Prediction p = a.predictor().Evaluation(smaller);
    if (!p.fits && smaller > 1) continue;
    const std::string change =
        a.flags().evaluation_batch && a.flags().evaluation_batch->value == size
            ? absl::StrCat("run with ", a.flags().evaluation_batch->With(smaller))
            : absl::StrCat("in the evaluation around ", a.Where(), ", use batches of ", smaller, " instead of ", size);
    a.Add("evaluation_batch", absl::StrCat("Evaluate in batches of ", smaller), change, p,
          "a slower evaluation; training is unchanged");
    break;
  }
}

}  // namespace oomtrace
