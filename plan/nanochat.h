// nanochat's GPT (nanochat/gpt.py, commit 92d63d4) as torch.compile runs it: no biases, no learned norms, value
// embeddings in every second block, embeddings in bfloat16, matrices in float32 cast for each product.
#pragma once

#include <memory>

#include "plan/network.h"

namespace oomtrace::plan {

std::unique_ptr<Network> MakeNanochat(Run& run);

}  // namespace oomtrace::plan
