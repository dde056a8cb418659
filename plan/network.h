// The forward pass of each family on a tape, transcribed from its source; backward follows from it.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "plan/eager.h"
#include "plan/model.h"
#include "plan/tape.h"

namespace oomtrace::plan {

// A run of one model on one card: what outlives a forward pass.
struct Run {
  const Model& model;
  const Training& training;
  const Card& card;
  AttentionKernel attention;
  Tape& tape;
  Eager eager;
  std::vector<Tensor> constants;  // buffers of the model
  Storage forward_workspace = nullptr;
  Storage backward_workspace = nullptr;

  int64_t tokens() const { return training.batch * training.sequence; }
  AttentionShape attention_shape() const {
    return {training.batch, model.heads, model.key_heads, training.sequence, model.head_width};
  }
};

struct Output {
  Tensor logits;
  Tensor loss;
};

class Network {
 public:
  virtual ~Network() = default;
  virtual Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) = 0;
};

// Adds parameters to the run's tape, as wide as its precision wants them. Null where a part is not in the model.
class ParameterMaker {
 public:
  explicit ParameterMaker(Run& run) : tape_(run.tape), width_(ParameterWidth(run.training.precision)) {}
  Parameter* Matrix(int64_t in, int64_t out) { return &tape_.AddParameter(in * out, width_, true); }
  Parameter* Vector(int64_t size, bool there = true) {
    return there ? &tape_.AddParameter(size, width_, false) : nullptr;
  }

 private:
  Tape& tape_;
  int width_;
};

// Makes the parameters and buffers on the tape, in the order of the model's own parameters().
std::unique_ptr<Network> MakeNetwork(Run& run);

// Whether the training loop still names the logits while it runs the backward pass: nanoGPT's does.
bool KeepsLogits(const Model& model);

// torch.utils.checkpoint round a block: only its input is kept, and the block runs again in the backward pass. `block`
// is kept until then: it must refer to nothing that ends with the forward pass.
Tensor Checkpointed(Run& run, const Tensor& x, const std::function<Tensor(const Tensor&)>& block);

// The blocks one after another, under activation checkpointing where the training has it. `forward`: (block, input) to
// output; what it refers to must outlive the backward pass, as must the blocks. `start` is moved in: it lives no longer
// than the first block wants it.
template <typename Block, typename Forward>
Tensor ThroughBlocks(Run& run, Tensor&& start, bool training, const std::vector<Block>& blocks,
                     const Forward& forward) {
  Tensor x = std::move(start);
  for (const Block& block : blocks) {
    const auto one = [&block, forward](const Tensor& input) { return forward(block, input); };
    x = run.training.checkpointing && training ? Checkpointed(run, x, one) : one(x);
  }
  return x;
}

}  // namespace oomtrace::plan
