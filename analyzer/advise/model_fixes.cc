#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/newly_made.h"
#include "analyzer/diagnose/site.h"
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
      a.Less(saving), "a code change; the head is recomputed in backward");
}

void Checkpoint(Advisor& a) {
  if (!a.Has("activations_too_large") || a.facts().oom->phase == PhaseKind::kSetUp) return;
  // With every block recomputed its input is kept, about an eighth of what a block keeps.
  const int64_t saving = (a.predictor().demand().carrying - a.predictor().demand().logits) * 3 / 4;
  if (!a.Worth(saving)) return;
  a.Add("activation_checkpointing", "Recompute activations in backward",
        "wrap each block in torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False); Transformers: "
        "gradient_checkpointing=True",
        a.Less(saving), "about a third more time for each step");
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
