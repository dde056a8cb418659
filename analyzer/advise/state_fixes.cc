#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Share of the weights that low-rank adapters come to, at most.
constexpr double kAdapters = 0.02;
constexpr char kShards[] = "shard_states";

// Whether any parameter has 32 bits.
bool InSinglePrecision(const Advisor& a) {
  return std::any_of(a.facts().live.begin(), a.facts().live.end(), [&](uint32_t i) {
    const Tensor& tensor = a.t().tensors[i];
    return tensor.category == Category::kParameter && a.t().layouts[tensor.layout].dtype == "float32";
  });
}

}  // namespace

void ShrinkOptimizerState(Advisor& a) {
  if (!a.Has("model_states_too_large") && !a.Has("optimizer_state_birth")) return;
  const States& states = a.predictor().states();
  const double now = StatePerParameterByte(states.optimizer_type, "");
  if (now < 1.5) return;
  const int64_t saving = states.optimizer * 3 / 4;
  if (!a.Worth(saving)) return;
  const Prediction p = a.Changed({.optimizer = 1.0 / 4}, saving);
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
  const Prediction p = a.Changed({.step_temporaries = false}, temporary);
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
  const std::string optimizer = states.optimizer_type.empty() ? "the optimizer" : states.optimizer_type;
  const int64_t unseen = a.predictor().demand().kept > 0 ? 0 : a.predictor().capacity() / 4;
  const auto with = [&](OutlineChange change) {
    change.unseen += unseen;
    return a.predictor().Changed(change);
  };
  const bool single = InSinglePrecision(a);
  if (single) {
    a.Add("bf16_states", "Keep the model in bfloat16", "model.to(torch.bfloat16) before the optimizer is made",
          with({.weights = 0.5, .kept = 0.5}),
          "lower precision of weights and updates; a few optimizers make up for it by "
          "stochastic rounding");
  }
  a.Add("train_adapters", "Train adapters, not all weights",
        "freeze the model and train low-rank adapters (peft's LoRA): no gradients and no state for the frozen weights",
        with({.gradients = kAdapters, .optimizer = kAdapters}), "a different training; the full model is not updated");
  a.Add("offload_optimizer", "Keep the optimizer's state on the CPU",
        absl::StrCat("DeepSpeed ZeRO with offload_optimizer, or torchao's CPUOffloadOptimizer, around ", optimizer),
        with({.optimizer = 0, .step_temporaries = false}), "host memory, and a slower step");
  const int64_t room = std::max<int64_t>(1, a.predictor().capacity() / 2);
  const int64_t cards = (states.total() + room - 1) / room;
  a.Add("shard_states", absl::StrCat("Shard the model over ", cards, " cards like this one"),
        "FSDP (fully_shard) or DeepSpeed ZeRO-3: each card holds its share of parameters, gradients and state",
        with({.weights = 1.0 / static_cast<double>(cards), .unseen = 2 * states.largest_parameter}),
        "more cards, and traffic between them");
}

// A model that dies on its way to the card, and nothing that shows it to be trained. Where the recorder did not see how
// large it is in all, each change says up to which size it helps.
void FitParameters(Advisor& a) {
  const int64_t there = a.predictor().states().parameters;
  const int64_t capacity = a.predictor().capacity();
  const ModelMove& move = a.facts().oom->move;
  const bool known = move.left > 0;
  const int64_t whole = known ? std::max(there, move.arrived) + move.left : there + a.facts().refused;
  const auto add = [&](const char* id, const std::string& title, const std::string& change, double share,
                       const std::string& price) {
    // Half a model has half of the tensors, one in half the precision all of them at half their size.
    const bool halved = std::string(id) == kShards;
    Prediction p = halved ? a.predictor().MovedModel(whole / 2, 1) : a.predictor().MovedModel(whole, share);
    p.fits = false;  // without what runs it
    report::Fix& fix = a.Add(id, title, change, p, price);
    if (p.headroom < 0) return;
    if (known) {
      fix.set_condition(absl::StrCat("if what runs the model fits beside its parameters, in ", Bytes(p.headroom)));
      return;
    }
    fix.set_condition(absl::StrCat(
        "if all parameters come to less than ",
        Bytes(static_cast<int64_t>(static_cast<double>(capacity) / share * static_cast<double>(p.allocated) /
                                   static_cast<double>(std::max<int64_t>(1, p.reserved)))),
        " as they are now (", Bytes(there), " of them were on the card), and what runs the model fits beside them"));
  };
  const bool single = InSinglePrecision(a);
  if (single) {
    add("bf16_states", "Keep the model in bfloat16", "model.to(torch.bfloat16) before it is moved to the GPU", 0.5,
        "lower precision of the weights; fine for running most models, less so for training them");
  }
  add("quantized_weights", "Keep the weights in 8 bits",
      "load the model quantized (bitsandbytes' load_in_8bit, torchao's int8_weight_only)", single ? 0.27 : 0.53,
      "a dependency; slightly different results; for running the model, not for training all of it");
  add(kShards, "Spread the model over two cards like this one",
      "accelerate's device_map=\"auto\" or tensor parallelism to run it; FSDP (fully_shard) to train it", 0.5,
      "a second card, and traffic between them");
  Prediction p;
  p.reserved = capacity / 2;
  p.headroom = capacity - p.reserved;
  report::Fix& fix = a.Add("offload_parameters", "Keep part of the model on the CPU",
                           "accelerate's cpu_offload, or device_map=\"auto\" with max_memory", p,
                           "weights cross the bus in each forward: much slower");
  fix.set_condition("if each layer by itself, and what runs it, fits");
}

}  // namespace oomtrace
