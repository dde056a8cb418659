// nanoGPT's GPT (model.py, commit 3adf61e), eager and compiled by Inductor.
#pragma once

#include <memory>
#include <vector>

#include "plan/network.h"

namespace oomtrace::plan {

struct NanoGptBlock {
  Parameter* norm1_weight;
  Parameter* norm1_bias;  // null where the model has no biases; the others too
  Parameter* qkv_weight;
  Parameter* qkv_bias;
  Parameter* out_weight;
  Parameter* out_bias;
  Parameter* norm2_weight;
  Parameter* norm2_bias;
  Parameter* up_weight;
  Parameter* up_bias;
  Parameter* down_weight;
  Parameter* down_bias;
};

struct NanoGptParameters {
  explicit NanoGptParameters(Run& run);

  Parameter* tokens;  // the output layer too
  Parameter* positions;
  std::vector<NanoGptBlock> blocks;
  Parameter* norm_weight;
  Parameter* norm_bias;
};

std::unique_ptr<Network> MakeNanoGpt(Run& run);
std::unique_ptr<Network> MakeCompiledNanoGpt(Run& run);

}  // namespace oomtrace::plan
