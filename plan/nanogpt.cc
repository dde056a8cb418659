#include "plan/nanogpt.h"

namespace oomtrace::plan {
namespace {

class NanoGpt : public Network {
 public:
  explicit NanoGpt(Run& run) : weights_(run) {}

  Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) override {
    const Model& model = run.model;
    Eager& eager = run.eager;
    eager.EnterAutocast();
    Tensor x = Embed(run, ids, training);
    for (const NanoGptBlock& block : weights_.blocks) {
      const auto forward = [&run, &block, training](const Tensor& input) { return Block(run, block, input, training); };
      x = run.training.checkpointing && training ? Checkpointed(run, x, forward) : forward(x);
    }
    x = eager.LayerNorm(x, *weights_.norm_weight, weights_.norm_bias, model.hidden);
    Output output;
    output.logits = eager.Linear(x, *weights_.tokens, nullptr, model.vocabulary, Kind::kLogits);
    output.loss = eager.CrossEntropy(output.logits, targets);
    eager.LeaveAutocast();
    return output;
  }

 private:
  Tensor Embed(Run& run, const Tensor& ids, bool training) {
    Eager& eager = run.eager;
    const Tensor positions = run.tape.New(run.training.sequence, 8, Kind::kBatch);
    const Tensor tokens = eager.Embedding(ids, *weights_.tokens, run.model.hidden);
    const Tensor places = eager.Embedding(positions, *weights_.positions, run.model.hidden);
    const Tensor sum = eager.Add(tokens, places);
    return eager.Dropout(sum, run.model.dropout, training);
  }

  static Tensor Block(Run& run, const NanoGptBlock& block, const Tensor& input, bool training) {
    const Model& model = run.model;
    Eager& eager = run.eager;
    const auto attention = [&](const Tensor& x) {
      const Tensor qkv = eager.Linear(x, *block.qkv_weight, block.qkv_bias, 3 * model.hidden);
      const Tensor y = eager.PackedAttention(qkv, run.attention_shape(), run.attention);
      const Tensor out = eager.Linear(y, *block.out_weight, block.out_bias, model.hidden);
      return eager.Dropout(out, model.dropout, training);
    };
    const auto mlp = [&](Tensor x) {
      x = eager.Linear(x, *block.up_weight, block.up_bias, model.inner);
      x = eager.Pointwise(x);
      x = eager.Linear(x, *block.down_weight, block.down_bias, model.hidden);
      return eager.Dropout(x, model.dropout, training);
    };
    const Tensor x =
        eager.Add(input, attention(eager.LayerNorm(input, *block.norm1_weight, block.norm1_bias, model.hidden)));
    return eager.Add(x, mlp(eager.LayerNorm(x, *block.norm2_weight, block.norm2_bias, model.hidden)));
  }

  NanoGptParameters weights_;
};

}  // namespace

NanoGptParameters::NanoGptParameters(Run& run) {
  const Model& model = run.model;
  const int width = ParameterWidth(run.training.precision);
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return &run.tape.AddParameter(rows * columns, width, true);
  };
  const auto vector = [&](int64_t size) { return &run.tape.AddParameter(size, width, false); };
  const auto bias = [&](int64_t size) { return model.bias ? vector(size) : nullptr; };
  tokens = matrix(model.vocabulary, model.hidden);
  positions = matrix(model.positions, model.hidden);
  for (int64_t i = 0; i < model.layers; ++i) {
    NanoGptBlock block;
    block.norm1_weight = vector(model.hidden);
    block.norm1_bias = bias(model.hidden);
    block.qkv_weight = matrix(3 * model.hidden, model.hidden);
    block.qkv_bias = bias(3 * model.hidden);
    block.out_weight = matrix(model.hidden, model.hidden);
    block.out_bias = bias(model.hidden);
    block.norm2_weight = vector(model.hidden);
    block.norm2_bias = bias(model.hidden);
    block.up_weight = matrix(model.inner, model.hidden);
    block.up_bias = bias(model.inner);
    block.down_weight = matrix(model.hidden, model.inner);
    block.down_bias = bias(model.hidden);
    blocks.push_back(block);
  }
  norm_weight = vector(model.hidden);
  norm_bias = bias(model.hidden);
}

std::unique_ptr<Network> MakeNanoGpt(Run& run) { return std::make_unique<NanoGpt>(run); }

}  // namespace oomtrace::plan
