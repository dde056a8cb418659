#include "plan/nanogpt.h"

#include <utility>

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
    x = ThroughBlocks(run, std::move(x), training, weights_.blocks,
                      [&run, training](const NanoGptBlock& block, const Tensor& input) {
                        return Block(run, block, input, training);
                      });
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
  ParameterMaker make(run);
  tokens = make.Matrix(model.vocabulary, model.hidden);
  positions = make.Matrix(model.positions, model.hidden);
  for (int64_t i = 0; i < model.layers; ++i) {
    NanoGptBlock block;
    block.norm1_weight = make.Vector(model.hidden);
    block.norm1_bias = make.Vector(model.hidden, model.bias);
    block.qkv_weight = make.Matrix(3 * model.hidden, model.hidden);
    block.qkv_bias = make.Vector(3 * model.hidden, model.bias);
    block.out_weight = make.Matrix(model.hidden, model.hidden);
    block.out_bias = make.Vector(model.hidden, model.bias);
    block.norm2_weight = make.Vector(model.hidden);
    block.norm2_bias = make.Vector(model.hidden, model.bias);
    block.up_weight = make.Matrix(model.inner, model.hidden);
    block.up_bias = make.Vector(model.inner, model.bias);
    block.down_weight = make.Matrix(model.hidden, model.inner);
    block.down_bias = make.Vector(model.hidden, model.bias);
    blocks.push_back(block);
  }
  norm_weight = make.Vector(model.hidden);
  norm_bias = make.Vector(model.hidden, model.bias);
}

std::unique_ptr<Network> MakeNanoGpt(Run& run) { return std::make_unique<NanoGpt>(run); }

}  // namespace oomtrace::plan
