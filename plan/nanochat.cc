#include "plan/nanochat.h"

#include <utility>

#include "plan/configuration.h"

namespace oomtrace::plan {
namespace {

constexpr int kHalf = 2;
constexpr int kFull = 4;
// Tensors of the stream's size (tokens x hidden, bfloat16) that Inductor keeps for the backward pass, counted in the
// compiled forward of depth 4 and 6: the stream, its norms and the inputs of the products, q, k and v before and after
// the rotation and the norm, the attention's output; one more where a block has value embeddings.
constexpr int kKeptInBlock = 10;
constexpr int kKeptOfValues = 1;
constexpr int kKeptOnce = 3;
constexpr int64_t kGateChannels = 12;

struct Block {
  Parameter *q, *k, *v, *out, *gate, *up, *down;
};

class Nanochat : public Network {
 public:
  explicit Nanochat(Run& run) {
    const Model& model = run.model;
    const int64_t table = model.vocabulary * model.hidden, square = model.hidden * model.hidden;
    tokens_ = &run.tape.AddParameter(table, kHalf, false);
    for (int64_t i = 0; i < model.layers; ++i) {
      Block block;
      for (Parameter** matrix : {&block.q, &block.k, &block.v, &block.out})
        *matrix = &run.tape.AddParameter(square, kFull, true);
      block.gate = HasValues(model, i) ? &run.tape.AddParameter(kGateChannels * model.heads, kFull, true) : nullptr;
      block.up = &run.tape.AddParameter(square * 4, kFull, true);
      block.down = &run.tape.AddParameter(square * 4, kFull, true);
      blocks_.push_back(block);
    }
    head_ = &run.tape.AddParameter(table, kFull, false);
    for (int64_t i = 0; i < model.layers; ++i) {
      if (HasValues(model, i)) values_.push_back(&run.tape.AddParameter(table, kHalf, false));
    }
    // Two scalars a block, the gate of the smear and two numbers.
    for (const int64_t size : {model.layers, model.layers, int64_t{24}, int64_t{1}, int64_t{1}})
      scalars_.push_back(&run.tape.AddParameter(size, kFull, false));
    // Cosine and sine for ten times the length.
    for (int i = 0; i < 2; ++i)
      run.constants.push_back(run.tape.New(10 * run.training.sequence * model.head_width / 2, kHalf));
  }

  Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) override {
    const Model& model = run.model;
    Tape& tape = run.tape;
    const int64_t stream = run.tokens() * model.hidden;
    auto kept = std::make_shared<std::vector<std::vector<Tensor>>>();
    const auto cast = [&](const Parameter* parameter) {
      return tape.New(parameter->value.elements, kHalf, Kind::kWeightCopy);
    };
    std::vector<Tensor> once = {ids, targets};
    for (int i = 0; i < kKeptOnce; ++i) once.push_back(tape.New(stream, kHalf));
    for (const Block& block : blocks_) {
      std::vector<Tensor> saved;
      for (const Parameter* matrix : {block.q, block.k, block.v, block.out}) saved.push_back(cast(matrix));
      for (int i = 0; i < kKeptInBlock + (block.gate ? kKeptOfValues : 0); ++i)
        saved.push_back(tape.New(stream, kHalf));
      for (Tensor& tensor : AttentionKept(tape, run.attention_shape(), run.attention)) saved.push_back(tensor);
      saved.push_back(cast(block.up));
      saved.push_back(tape.New(run.tokens() * model.inner, kHalf));
      saved.push_back(cast(block.down));
      saved.push_back(tape.New(run.tokens() * model.inner, kHalf));
      if (tape.recording()) kept->push_back(std::move(saved));
    }
    once.push_back(cast(head_));
    // The only tensor of this size: it is no result, so the gradient is written over it.
    Tensor logits = tape.New(run.tokens() * model.vocabulary, kHalf, Kind::kLogits);
    once.push_back(logits);
    Output output;
    output.loss = tape.New(1, kFull, Kind::kTemporary);
    std::vector<const Tensor*> inputs;
    for (const auto& parameter : tape.parameters()) inputs.push_back(&parameter->value);
    kept->push_back(std::move(once));
    tape.Record({&output.loss}, inputs, {}, [this, &run, kept](std::vector<Tensor>&, std::vector<Tensor>&) {
      return Backward(run, std::move(*kept));
    });
    return output;
  }

 private:
  static bool HasValues(const Model& model, int64_t layer) { return layer % 2 == (model.layers - 1) % 2; }

  std::vector<Tensor> Backward(Run& run, std::vector<std::vector<Tensor>> kept) {
    const Model& model = run.model;
    Tape& tape = run.tape;
    std::vector<Tensor> gradients(tape.parameters().size());
    const int64_t stream = run.tokens() * model.hidden, table = model.vocabulary * model.hidden;
    const auto gradient = [&](const Parameter* parameter) {
      for (size_t i = 0; parameter && i < gradients.size(); ++i) {
        if (tape.parameters()[i].get() != parameter) continue;
        gradients[i] = tape.New(parameter->value.elements, parameter->value.width, Kind::kGradient);
      }
    };
    // Of an embedding: summed in float32, then cast.
    const auto embedding_gradient = [&](const Parameter* parameter) {
      const Tensor sum = tape.New(table, kFull, Kind::kGradient);
      gradient(parameter);
    };
    Tensor head = tape.New(table, kHalf, Kind::kGradient);
    const Tensor first = tape.New(stream, kHalf);
    kept.back().resize(2 + kKeptOnce);
    gradient(head_);
    head = {};
    const Tensor second = tape.New(stream, kHalf), third = tape.New(stream, kFull);
    Tensor inner, down = tape.New(4 * model.hidden * model.hidden, kHalf, Kind::kGradient);
    size_t values = values_.size();
    for (size_t i = blocks_.size(); i-- > 0;) {
      const Block& block = blocks_[i];
      if (!inner) inner = tape.New(run.tokens() * model.inner, kHalf);
      gradient(block.down);
      gradient(block.up);
      gradient(block.out);
      const std::vector<Tensor> parts = AttentionGradients(tape, run.attention_shape(), run.attention, kHalf);
      for (const Parameter* matrix : {block.v, block.k, block.q, block.gate}) gradient(matrix);
      kept[i].clear();
      if (block.gate) embedding_gradient(values_[--values]);
    }
    embedding_gradient(tokens_);
    for (const Parameter* scalar : scalars_) gradient(scalar);
    return gradients;
  }

  Parameter* tokens_;
  std::vector<Block> blocks_;
  Parameter* head_;
  std::vector<Parameter*> values_;
  std::vector<Parameter*> scalars_;
};

}  // namespace

std::unique_ptr<Network> MakeNanochat(Run& run) { return std::make_unique<Nanochat>(run); }

Configuration NanochatConfiguration(int64_t depth) {
  constexpr int64_t kAspectRatio = 64, kHeadWidth = 128;
  Configuration configuration;
  Model& model = configuration.model;
  model.family = Family::kNanochat;
  model.name = "nanochat";
  model.layers = depth;
  model.hidden = (depth * kAspectRatio + kHeadWidth - 1) / kHeadWidth * kHeadWidth;
  model.heads = model.key_heads = model.hidden / kHeadWidth;
  model.head_width = kHeadWidth;
  model.inner = 4 * model.hidden;
  model.vocabulary = 32768;
  model.positions = 2048;
  model.tied = false;
  configuration.batch = 32;
  configuration.sequence = 2048;
  // 2^19 tokens a step, the reference of depth 12.
  configuration.accumulation = (1 << 19) / (32 * 2048);
  configuration.precision = Precision::kBfloat16;
  configuration.optimizer = Optimizer::kMuon;
  configuration.compile = true;
  return configuration;
}

}  // namespace oomtrace::plan
