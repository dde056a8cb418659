// GPT-2 and the Llama family of Transformers 5 (modeling_gpt2.py, modeling_llama.py), eager, trained in a loop that
// keeps the loss alone. The batches hold no padding, so attention needs no mask.
#pragma once

#include <memory>

#include "plan/network.h"

namespace oomtrace::plan {

std::unique_ptr<Network> MakeGpt2(Run& run);
std::unique_ptr<Network> MakeLlama(Run& run);

// ForCausalLMLoss: the logits in float32, their cross entropy.
Tensor CausalLanguageLoss(Run& run, const Tensor& logits, const Tensor& targets);

}  // namespace oomtrace::plan
