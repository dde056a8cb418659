#include <algorithm>
#include <string>
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

void MoveLateAllocation(Advisor& a) {
  const NewlyMade made = FindNewlyMade(a.facts());
  if (made.example < 0) return;
  const Tensor& example = a.t().tensors[static_cast<size_t>(made.example)];
  // Without it training is what it was while it was stable, which is on record.
  int64_t before = 0;
  for (const Sample& sample : a.t().samples) {
    if (sample.time >= example.born) break;
    before = std::max(before, sample.reserved);
  }
  Prediction p;
  p.reserved = before;
  p.headroom = a.predictor().capacity() - p.reserved;
  p.fits = p.headroom >= 0;
  a.Add("off_device", "Make the one-off copy off the GPU",
        absl::StrCat(
            "at ", ShortSite(SiteOf(a.t(), example.stack)),
            ", build it on the CPU (of a model: a second one made there, filled by load_state_dict; of a tensor: "
            "tensor.detach().cpu(); of a file: map_location=\"cpu\")"),
        p, "a copy over the bus, once");
}

}  // namespace oomtrace
