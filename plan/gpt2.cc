#include <utility>

#include "plan/transformers.h"

namespace oomtrace::plan {
namespace {

struct Block {
  Parameter *norm1, *norm1_bias, *qkv, *qkv_bias, *out, *out_bias, *norm2, *norm2_bias, *up, *up_bias, *down,
      *down_bias;
};

class Gpt2 : public Network {
 public:
  explicit Gpt2(Run& run) {
    const Model& model = run.model;
    ParameterMaker make(run);
    tokens_ = make.Matrix(model.vocabulary, model.hidden);
    positions_ = make.Matrix(model.positions, model.hidden);
    for (int64_t i = 0; i < model.layers; ++i) {
      Block block;
      block.norm1 = make.Vector(model.hidden);
      block.norm1_bias = make.Vector(model.hidden);
      block.qkv = make.Matrix(model.hidden, 3 * model.hidden);
      block.qkv_bias = make.Vector(3 * model.hidden);
      block.out = make.Matrix(model.hidden, model.hidden);
      block.out_bias = make.Vector(model.hidden);
      block.norm2 = make.Vector(model.hidden);
      block.norm2_bias = make.Vector(model.hidden);
      block.up = make.Matrix(model.hidden, model.inner);
      block.up_bias = make.Vector(model.inner);
      block.down = make.Matrix(model.inner, model.hidden);
      block.down_bias = make.Vector(model.hidden);
      blocks_.push_back(block);
    }
    norm_ = make.Vector(model.hidden);
    norm_bias_ = make.Vector(model.hidden);
    if (!model.tied) head_ = make.Matrix(model.hidden, model.vocabulary);
  }

  Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) override {
    const Model& model = run.model;
    Eager& eager = run.eager;
    eager.EnterAutocast();
    const Tensor tokens = eager.Embedding(ids, *tokens_, model.hidden);
    const Tensor positions = run.tape.New(run.training.sequence, 8, Kind::kBatch);
    const Tensor places = eager.Embedding(positions, *positions_, model.hidden);
    Tensor x = eager.Dropout(eager.Add(tokens, places), model.dropout, training);
    x = ThroughBlocks(run, std::move(x), training, blocks_, [&run, training](const Block& block, const Tensor& input) {
      return ForwardBlock(run, block, input, training);
    });
    x = eager.LayerNorm(x, *norm_, norm_bias_, model.hidden);
    Output output;
    output.logits = eager.Linear(x, head_ ? *head_ : *tokens_, nullptr, model.vocabulary, Kind::kLogits);
    output.loss = CausalLanguageLoss(run, output.logits, targets);
    eager.LeaveAutocast();
    return output;
  }

 private:
  // NewGELUActivation, written out in Python: 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))). The power is computed in
  // float32 under autocast, and with it all that follows.
  static Tensor Gelu(Run& run, const Tensor& x) {
    Eager& eager = run.eager;
    const int wide = CastWidth(run.training.precision) ? 4 : x.width;
    const Tensor half = eager.Scaled(x);
    const Tensor raised = eager.Cast(x, wide);
    const Tensor cube = eager.Product({&raised}, {raised}, x.elements, wide);
    const Tensor scaled = eager.Scaled(cube);
    const Tensor sum = eager.Add(scaled, x);
    const Tensor argument = eager.Scaled(sum);
    Tensor tanh = run.tape.New(x.elements, wide);
    eager.RecordPointwise(tanh, {&argument}, {tanh});
    const Tensor plus = eager.Scaled(tanh);
    return eager.Product({&half, &plus}, {half, plus}, x.elements, wide);
  }

  static Tensor ForwardBlock(Run& run, const Block& block, const Tensor& input, bool training) {
    const Model& model = run.model;
    Eager& eager = run.eager;
    const auto attention = [&](const Tensor& x) {
      const Tensor qkv = eager.Linear(x, *block.qkv, block.qkv_bias, 3 * model.hidden);
      const Tensor y = eager.PackedAttention(qkv, run.attention_shape(), run.attention);
      return eager.Dropout(eager.Linear(y, *block.out, block.out_bias, model.hidden), model.dropout, training);
    };
    const auto mlp = [&](Tensor x) {
      x = eager.Linear(x, *block.up, block.up_bias, model.inner);
      x = Gelu(run, x);
      x = eager.Linear(x, *block.down, block.down_bias, model.hidden);
      return eager.Dropout(x, model.dropout, training);
    };
    const Tensor x = eager.Add(attention(eager.LayerNorm(input, *block.norm1, block.norm1_bias, model.hidden)), input);
    return eager.Add(x, mlp(eager.LayerNorm(x, *block.norm2, block.norm2_bias, model.hidden)));
  }

  Parameter* tokens_;
  Parameter* positions_;
  std::vector<Block> blocks_;
  Parameter* norm_;
  Parameter* norm_bias_;
  Parameter* head_ = nullptr;
};

}  // namespace

std::unique_ptr<Network> MakeGpt2(Run& run) { return std::make_unique<Gpt2>(run); }

Tensor CausalLanguageLoss(Run& run, const Tensor& logits, const Tensor& targets) {
  const Tensor full = run.eager.Cast(logits, 4);
  // The targets are shifted by one into a copy of their own.
  const Tensor padded = run.tape.New(targets.elements + run.training.batch, 8, Kind::kBatch);
  const Tensor shifted = run.tape.New(targets.elements, 8, Kind::kBatch);
  return run.eager.CrossEntropy(full, shifted);
}

}  // namespace oomtrace::plan
