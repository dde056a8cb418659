#include <utility>

#include "plan/transformers.h"

namespace oomtrace::plan {
namespace {

constexpr int kFull = 4;

struct Block {
  Parameter *q, *q_bias, *k, *k_bias, *v, *v_bias, *out, *q_norm, *k_norm, *gate, *up, *down, *norm1, *norm2;
};

class Llama : public Network {
 public:
  explicit Llama(Run& run) {
    const Model& model = run.model;
    ParameterMaker make(run);
    const int64_t q = model.heads * model.head_width, kv = model.key_heads * model.head_width;
    tokens_ = make.Matrix(model.vocabulary, model.hidden);
    for (int64_t i = 0; i < model.layers; ++i) {
      Block block;
      block.q = make.Matrix(model.hidden, q);
      block.q_bias = make.Vector(q, model.attention_bias);
      block.k = make.Matrix(model.hidden, kv);
      block.k_bias = make.Vector(kv, model.attention_bias);
      block.v = make.Matrix(model.hidden, kv);
      block.v_bias = make.Vector(kv, model.attention_bias);
      block.out = make.Matrix(q, model.hidden);
      block.q_norm = make.Vector(model.head_width, model.head_norm);
      block.k_norm = make.Vector(model.head_width, model.head_norm);
      block.gate = make.Matrix(model.hidden, model.inner);
      block.up = make.Matrix(model.hidden, model.inner);
      block.down = make.Matrix(model.inner, model.hidden);
      block.norm1 = make.Vector(model.hidden);
      block.norm2 = make.Vector(model.hidden);
      blocks_.push_back(block);
    }
    norm_ = make.Vector(model.hidden);
    if (!model.tied) head_ = make.Matrix(model.hidden, model.vocabulary);
  }

  Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) override {
    const Model& model = run.model;
    Eager& eager = run.eager;
    eager.EnterAutocast();
    Tensor x = eager.Embedding(ids, *tokens_, model.hidden);
    // Cosine and sine of the positions, shared by all blocks.
    const int64_t angles = run.training.sequence * model.head_width;
    const Tensor cosine = run.tape.New(angles, x.width), sine = run.tape.New(angles, x.width);
    x = ThroughBlocks(run, std::move(x), training, blocks_,
                      [&run, cosine, sine](const Block& block, const Tensor& input) {
                        return ForwardBlock(run, block, input, cosine, sine);
                      });
    x = eager.RmsNorm(x, *norm_, model.hidden);
    Output output;
    output.logits = eager.Linear(x, head_ ? *head_ : *tokens_, nullptr, model.vocabulary, Kind::kLogits);
    output.loss = CausalLanguageLoss(run, output.logits, targets);
    eager.LeaveAutocast();
    return output;
  }

 private:
  // x cos + rotate_half(x) sin; of neither product the input is kept. Cosine and sine are as wide as the stream.
  static Tensor Rotate(Run& run, const Tensor& x, const Tensor& cosine, const Tensor& sine) {
    Eager& eager = run.eager;
    const Tensor left = eager.Product({&x}, {cosine}, x.elements, cosine.width);
    const Tensor rotated = eager.Product({&x}, {}, x.elements, x.width);
    const Tensor right = eager.Product({&rotated}, {sine}, x.elements, cosine.width);
    return eager.Add(left, right);
  }

  static Tensor Attend(Run& run, const Block& block, const Tensor& x, const Tensor& cosine, const Tensor& sine) {
    const Model& model = run.model;
    Eager& eager = run.eager;
    const int cast = CastWidth(run.training.precision);
    const int64_t q_width = model.heads * model.head_width, kv_width = model.key_heads * model.head_width;
    Tensor q = eager.Linear(x, *block.q, block.q_bias, q_width);
    if (block.q_norm) q = eager.RmsNorm(q, *block.q_norm, model.head_width);
    Tensor k = eager.Linear(x, *block.k, block.k_bias, kv_width);
    if (block.k_norm) k = eager.RmsNorm(k, *block.k_norm, model.head_width);
    const Tensor v = eager.Linear(x, *block.v, block.v_bias, kv_width);
    const Tensor turned_q = Rotate(run, q, cosine, sine);
    const Tensor turned_k = Rotate(run, k, cosine, sine);
    q = k = {};
    Tensor keys = cast ? eager.Cast(turned_k, cast) : turned_k;
    Tensor values = v;
    AttentionShape shape = run.attention_shape();
    if (model.key_heads != model.heads && run.attention == AttentionKernel::kEfficient) {
      // This kernel knows no grouped heads: keys and values are repeated for it.
      keys = eager.Product({&keys}, {}, run.tokens() * q_width, keys.width);
      values = eager.Product({&values}, {}, run.tokens() * q_width, values.width);
      shape.key_heads = shape.heads;
    }
    const Tensor queries = cast ? eager.Cast(turned_q, cast) : turned_q;
    const Tensor y = eager.Attention(queries, keys, values, shape, run.attention);
    return eager.Linear(y, *block.out, nullptr, model.hidden);
  }

  static Tensor ForwardBlock(Run& run, const Block& block, const Tensor& input, const Tensor& cosine,
                             const Tensor& sine) {
    const Model& model = run.model;
    Eager& eager = run.eager;
    const Tensor x =
        eager.Add(input, Attend(run, block, eager.RmsNorm(input, *block.norm1, model.hidden), cosine, sine));
    const Tensor normed = eager.RmsNorm(x, *block.norm2, model.hidden);
    const Tensor gate = eager.Pointwise(eager.Linear(normed, *block.gate, nullptr, model.inner));
    const Tensor up = eager.Linear(normed, *block.up, nullptr, model.inner);
    const Tensor product = eager.Product({&gate, &up}, {gate, up}, gate.elements, gate.width);
    return eager.Add(x, eager.Linear(product, *block.down, nullptr, model.hidden));
  }

  Parameter* tokens_;
  std::vector<Block> blocks_;
  Parameter* norm_;
  Parameter* head_ = nullptr;
};

}  // namespace

std::unique_ptr<Network> MakeLlama(Run& run) { return std::make_unique<Llama>(run); }

}  // namespace oomtrace::plan
