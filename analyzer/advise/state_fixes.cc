#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

void ShrinkOptimizerState(Advisor& a) {
  if (!a.Has("model_states_too_large") && !a.Has("optimizer_state_birth")) return;
  const States& states = a.predictor().states();
  const double now = StatePerParameterByte(states.optimizer_type, "");
  if (now < 1.5) return;
  const int64_t saving = states.optimizer * 3 / 4;
  if (!a.Worth(saving)) return;
  const Demand& demand = a.predictor().demand();
  const Prediction p = a.StatesExceedCard() ? a.predictor().Of(states.total() - saving + demand.fixed + demand.carrying,
                                                               /*expandable=*/true)
                                            : a.Less(saving);
  a.Add("smaller_optimizer_state", "Keep the optimizer's state in 8 bits",
        absl::StrCat("replace ", states.optimizer_type, " by its 8-bit form (bitsandbytes or torchao AdamW8bit)"), p,
        "a dependency; slightly different updates");
}

// What a step makes beside state: copies of all gradients or parameters at once, as the foreach implementations do.
void StepWithoutTemporaries(Advisor& a) {
  if (a.facts().oom->phase != PhaseKind::kOptimizerStep) return;
  int64_t temporary = 0;
  for (const uint32_t i : a.facts().live) {
    const Tensor& tensor = a.t().tensors[i];
    if (tensor.phase == PhaseKind::kOptimizerStep && tensor.category == Category::kTemporary) temporary += tensor.bytes;
  }
  if (!a.Worth(temporary)) return;
  const States& states = a.predictor().states();
  Prediction p =
      a.predictor().Of(std::max(states.total(), a.facts().device.tensors() - temporary), /*expandable=*/true);
  a.Add("fused_optimizer", "Step without temporaries",
        absl::StrCat("pass fused=True (or foreach=False) to ",
                     states.optimizer_type.empty() ? "the optimizer" : states.optimizer_type),
        p, "fused: none; foreach=False: a slower step");
}

// Parameters, gradients and state that exceed the card at any batch: what makes them smaller or puts them elsewhere.
// What activations need comes on top; where no forward was seen it is unknown, and a quarter of the card is left for
// it.
void FitStates(Advisor& a) {
  const States& states = a.predictor().states();
  const Demand& demand = a.predictor().demand();
  const std::string optimizer = states.optimizer_type.empty() ? "the optimizer" : states.optimizer_type;
  const int64_t activations = demand.carrying > 0 ? demand.carrying : a.predictor().capacity() / 4;
  const auto with = [&](int64_t bytes) {
    // States are made once and stay: they leave no gaps in the cache.
    return a.predictor().Of(bytes + demand.fixed + activations, /*expandable=*/true);
  };
  bool single = false;
  for (const uint32_t i : a.facts().live) {
    const Tensor& tensor = a.t().tensors[i];
    single = single || (tensor.category == Category::kParameter && a.t().layouts[tensor.layout].dtype == "float32");
  }
  if (single) {
    a.Add("bf16_states", "Keep the model in bfloat16", "model.to(torch.bfloat16) before the optimizer is made",
          with(states.total() / 2),
          "lower precision of weights and updates; a few optimizers make up for it by "
          "stochastic rounding");
  }
  a.Add("train_adapters", "Train adapters, not all weights",
        "freeze the model and train low-rank adapters (peft's LoRA): no gradients and no state for the frozen weights",
        with(states.parameters), "a different training; the full model is not updated");
  a.Add("offload_optimizer", "Keep the optimizer's state on the CPU",
        absl::StrCat("DeepSpeed ZeRO with offload_optimizer, or torchao's CPUOffloadOptimizer, around ", optimizer),
        with(states.parameters + states.gradients), "host memory, and a slower step");
  const int64_t room = std::max<int64_t>(1, a.predictor().capacity() / 2);
  const int64_t cards = (states.total() + room - 1) / room;
  a.Add("shard_states", absl::StrCat("Shard the model over ", cards, " cards like this one"),
        "FSDP (fully_shard) or DeepSpeed ZeRO-3: each card holds its share of parameters, gradients and state",
        with(states.total() / cards + 2 * states.largest_parameter), "more cards, and traffic between them");
}

}  // namespace oomtrace
