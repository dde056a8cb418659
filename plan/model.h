// The transformer that a plan is made for, and how it is trained.
#pragma once

#include <cstdint>
#include <string>

#include "plan/eager.h"

namespace oomtrace::plan {

enum class Family {
  kNanoGpt,   // nanoGPT's GPT and examples/gpt: pre-norm, learned positions, fused attention, one projection for q, k,
              // v
  kGpt2,      // GPT-2 of Transformers
  kLlama,     // Llama, Mistral, Qwen2 and Qwen3 of Transformers: RMS norms, rotary positions, gated MLP
  kNanochat,  // nanochat's GPT, compiled, with its own optimizer
};

struct Model {
  Family family = Family::kNanoGpt;
  std::string name;  // for people
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t key_heads = 12;
  int64_t hidden = 768;
  int64_t head_width = 64;
  int64_t inner = 3072;  // width of the MLP
  int64_t vocabulary = 50304;
  int64_t positions = 1024;  // of the table of learned positions
  bool bias = false;
  bool attention_bias = false;  // of q, k, v (Qwen2)
  bool head_norm = false;       // norms of q and k (Qwen3)
  bool tied = true;             // the output layer is the input table
  double dropout = 0;
};

enum class Precision { kFloat32, kAutocastBfloat16, kAutocastFloat16, kBfloat16 };
enum class Optimizer { kAdamwFused, kAdamwForeach, kAdamwLoop, kSgd, kSgdMomentum, kMuon };

struct Training {
  int64_t batch = 1;  // micro-batch
  int64_t sequence = 1024;
  int64_t accumulation = 1;
  Precision precision = Precision::kAutocastBfloat16;
  Optimizer optimizer = Optimizer::kAdamwFused;
  bool compile = false;
  bool checkpointing = false;
  bool evaluation = false;  // one before the first step, as nanoGPT does
};

// What the choice of kernels and workspaces depends on.
struct Card {
  std::string name;
  int64_t total = 0;    // bytes
  int64_t context = 0;  // bytes
  int capability_major = 8;
  int capability_minor = 0;
};

AttentionKernel ChooseAttention(const Card& card, const Model& model, Precision precision);
int64_t WorkspaceBytes(const Card& card);  // of one cuBLAS handle
int CastWidth(Precision precision);        // of autocast; 0: none
int ParameterWidth(Precision precision);

}  // namespace oomtrace::plan
