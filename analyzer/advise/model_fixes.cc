#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/newly_made.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/untrained.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

void ChunkLogits(Advisor& a) {
  if (!a.Has("logits_too_large")) return;
  // A chunk is an eighth of the tokens; logits of one chunk and its copies are alive at a time.
  const int64_t saving = a.predictor().demand().logits * 7 / 8;
  if (!a.Worth(saving)) return;
  a.Add(
      "chunked_cross_entropy", "Compute the loss in chunks",
      absl::StrCat("do not materialise the logits at ", a.Where(),
                   ": a fused linear cross entropy (Liger Kernel, cut-cross-entropy) or a loop over chunks of tokens"),
      a.Changed({.logits = 1.0 / 8}, saving), "a code change; the head is recomputed in backward");
}

// What nobody trains needs no gradients of its own, and, where nothing before it is trained, no graph either.
void FreezeUntrained(Advisor& a) {
  const Untrained untrained = FindUntrained(a.facts());
  if (!untrained.found) return;
  const States& states = a.predictor().states();
  const int64_t gradients = untrained.gets_gradients ? untrained.parameters : 0;
  if (!a.Worth(gradients + untrained.activations)) return;
  OutlineChange frozen{.gradients = states.gradients > 0
                                        ? 1 - static_cast<double>(gradients) / static_cast<double>(states.gradients)
                                        : 1};
  OutlineChange apart = frozen;
  apart.untrained_graphs = false;
  const std::string name = untrained.type.empty() ? "the network" : absl::StrCat("the ", untrained.type);
  const std::string call =
      untrained.stack == 0 ? "" : absl::StrCat(" at ", ShortSite(CallOfModel(a.t(), untrained.stack)));
  const std::string who =
      absl::StrCat(name, " called", call, " (", Bytes(untrained.parameters), " of parameters in no optimizer)");
  Prediction p = a.Changed(frozen, gradients);
  const bool enough = !untrained.comes_first && p.fits && gradients > 0;
  if (!enough) p = a.Changed(apart, gradients + untrained.activations);
  report::Fix& fix = a.Add(
      "no_grad", "Run the network that is not trained without gradients",
      absl::StrCat(enough ? "call requires_grad_(False) on " : "put torch.no_grad() around the call of ", who,
                   enough ? "; where nothing before it is trained through it, torch.no_grad() round the call spares "
                            "its activations as well"
                          : ""),
      p, "none, if it is not meant to be trained");
  if (!enough && !untrained.comes_first)
    Conditional(fix, "if nothing before it is trained through it: then its gradients are needed");
}

void Checkpoint(Advisor& a) {
  if (!a.Has("activations_too_large") || a.facts().oom->phase == PhaseKind::kSetUp) return;
  const Demand& demand = a.predictor().demand();
  const int64_t saving = SavedByCheckpointing(a.facts(), a.predictor().carriers(), demand);
  if (!a.Worth(saving)) return;
  report::Fix& fix =
      a.Add("activation_checkpointing", "Recompute activations in backward",
            "wrap each block in torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False); Transformers: "
            "gradient_checkpointing=True",
            a.Changed({.kept = 1 - static_cast<double>(saving) / static_cast<double>(demand.kept)}, saving),
            "about a third more time for each step");
  // Which blocks can be wrapped, and what each of them keeps inside, only a run tells.
  Conditional(fix, "if all blocks keep inside what the ones on record did");
}

void KeepDataOnHost(Advisor& a) {
  const Prediction p =
      a.predictor().Without([](const Tensor& tensor) { return tensor.category == Category::kInput; }, true);
  report::Fix& fix =
      a.Add("move_to_cpu", "Keep it on the host",
            absl::StrCat(
                "leave what is copied at ", a.Where(),
                " on the CPU and move one batch at a time, x = x.to(\"cuda\", non_blocking=True), from pinned memory "
                "(DataLoader(..., pin_memory=True)); load files with map_location=\"cpu\""),
            p, "a copy over the bus for each batch");
  Conditional(fix, absl::StrCat("if the model and one batch, of which nothing had run yet, need no more than ",
                                Bytes(fix.headroom())));
}

// One of the new statements, the one that makes most first: what it makes goes to the CPU, and the rest has to fit.
void MoveLateAllocation(Advisor& a) {
  const NewlyMade made = FindNewlyMade(a.facts());
  const Timeline& t = a.t();
  const OutOfMemory& oom = *a.facts().oom;
  std::vector<uint32_t> stacks;
  if (made.example >= 0) stacks.push_back(t.tensors[static_cast<size_t>(made.example)].stack);
  // What no card could hold is no copy that was put on the wrong device.
  if (made.refused && a.facts().refused <= a.predictor().capacity()) stacks.push_back(oom.stack);
  if (stacks.size() == 2 && a.facts().refused >= made.statement) std::swap(stacks[0], stacks[1]);
  Prediction best;
  std::string place;
  for (const uint32_t stack : stacks) {
    const Frame site = SiteOf(t, stack);
    const auto of_statement = [&](uint32_t other) {
      const Frame frame = SiteOf(t, other);
      return other != 0 && frame.file == site.file && frame.line == site.line;
    };
    const Prediction p = a.predictor().Without([&](const Tensor& tensor) { return of_statement(tensor.stack); },
                                               made.refused && of_statement(oom.stack));
    if (!place.empty() && !p.fits) continue;
    best = p;
    place = ShortSite(site);
    if (p.fits) break;
  }
  if (place.empty()) return;
  a.Add("off_device", "Make the one-off copy off the GPU",
        absl::StrCat(
            "at ", place,
            ", build it on the CPU (of a model: a second one made there, filled by load_state_dict; of a tensor: "
            "tensor.detach().cpu(); of a file: map_location=\"cpu\")"),
        best, "a copy over the bus, once");
}

}  // namespace oomtrace
