// nanoGPT's GPT as torch.compile runs it: one forward and one backward function of fused kernels, in Inductor's order
// (torch 2.11, default mode). What is kept for the backward pass is what its partitioner chooses: of each block the two
// normalised inputs in float32 and in the precision of the products, q, k and v, the attention's output, the MLP before
// and after its activation; under autocast the cast weights; of dropout the masks.
#include <array>
#include <utility>

#include "plan/nanogpt.h"

namespace oomtrace::plan {
namespace {

constexpr int kFull = 4;

// What one block leaves to its backward.
struct KeptBlock {
  Tensor norm1, deviation1, input1, qkv_weight, qkv, attended, out_weight, mask1;
  std::vector<Tensor> attention;
  Tensor norm2, deviation2, input2, up_weight, up, activated, down_weight, mask2;
};

struct Kept {
  Tensor mask, ids, targets;
  std::vector<KeptBlock> blocks;
  Tensor norm, deviation, input, head_weight, logits, maximum, sum;
};

class CompiledNanoGpt : public Network {
 public:
  explicit CompiledNanoGpt(Run& run) : weights_(run) {}

  Output Forward(Run& run, const Tensor& ids, const Tensor& targets, bool training) override {
    const auto kept = std::make_shared<Kept>();
    kept->ids = ids;
    kept->targets = targets;
    Output output = Compute(run, *kept, training);
    if (!run.tape.recording()) return output;
    std::vector<const Tensor*> inputs;
    for (const auto& parameter : run.tape.parameters()) inputs.push_back(&parameter->value);
    run.tape.Record({&output.logits, &output.loss}, inputs, {},
                    [this, &run, kept](std::vector<Tensor>&, std::vector<Tensor>&) {
                      return ComputeBackward(run, std::move(*kept));
                    });
    return output;
  }

 private:
  // Width of the products.
  static int Width(const Run& run) {
    const int cast = CastWidth(run.training.precision);
    return cast ? cast : ParameterWidth(run.training.precision);
  }

  // The weight as the products take it; without autocast itself.
  static Tensor Weight(const Run& run, const Parameter& parameter) {
    if (CastWidth(run.training.precision) == 0) return parameter.value.Detached();
    return run.tape.New(parameter.value.elements, Width(run), Kind::kWeightCopy);
  }

  Output Compute(Run& run, Kept& kept, bool training) {
    const Model& model = run.model;
    Tape& tape = run.tape;
    const int width = Width(run);
    const int64_t tokens = run.tokens(), size = tokens * model.hidden;
    const bool keep = tape.recording();
    const bool masked = model.dropout > 0 && training;
    const Tensor positions = tape.New(run.training.sequence, 8, Kind::kBatch);
    if (masked) kept.mask = tape.New(size, 1);
    Tensor residual = tape.New(size, kFull);
    // Outputs of the branches wait until three are added to the residual stream at once.
    std::vector<Tensor> waiting;
    const auto add = [&](Tensor branch) {
      if (waiting.size() == 3) {
        residual = tape.New(size, kFull);
        waiting.clear();
      }
      waiting.push_back(std::move(branch));
    };
    for (const NanoGptBlock& block : weights_.blocks) {
      KeptBlock saved;
      if (keep) saved.norm1 = tape.New(size, kFull);
      saved.input1 = tape.New(size, width);
      saved.deviation1 = tape.New(tokens, kFull);
      saved.qkv_weight = Weight(run, *block.qkv_weight);
      saved.qkv = tape.New(3 * size, width);
      saved.attended = tape.New(size, width);
      saved.attention = AttentionKept(tape, run.attention_shape(), run.attention);
      if (!keep) saved.qkv = {};
      saved.out_weight = Weight(run, *block.out_weight);
      add(tape.New(size, width));
      if (masked) saved.mask1 = tape.New(size, 1);
      if (keep) saved.norm2 = tape.New(size, kFull);
      saved.input2 = tape.New(size, width);
      saved.deviation2 = tape.New(tokens, kFull);
      saved.up_weight = Weight(run, *block.up_weight);
      saved.up = tape.New(tokens * model.inner, width);
      saved.down_weight = Weight(run, *block.down_weight);
      // Without a backward pass the activation is computed in place.
      saved.activated = keep ? tape.New(tokens * model.inner, width) : saved.up;
      add(tape.New(size, width));
      if (masked) saved.mask2 = tape.New(size, 1);
      if (keep) kept.blocks.push_back(std::move(saved));
    }
    if (keep) kept.norm = tape.New(size, kFull);
    kept.input = tape.New(size, width);
    kept.deviation = tape.New(tokens, kFull);
    residual = {};
    waiting.clear();
    kept.head_weight = Weight(run, *weights_.tokens);
    Output output;
    output.logits = tape.New(tokens * model.vocabulary, width, Kind::kLogits);
    kept.logits = output.logits.Detached();
    kept.maximum = tape.New(tokens, kFull);
    kept.sum = tape.New(tokens, kFull);
    output.loss = tape.New(1, kFull, Kind::kTemporary);
    return output;
  }

  std::vector<Tensor> ComputeBackward(Run& run, Kept kept) {
    const Model& model = run.model;
    Tape& tape = run.tape;
    const int width = Width(run);
    const bool cast = CastWidth(run.training.precision) != 0;
    const int64_t size = run.tokens() * model.hidden;
    const int64_t table = model.vocabulary * model.hidden;
    std::vector<Tensor> gradients(tape.parameters().size());
    // Gradients come as the parameters are: float32. Under autocast the product gives the lower precision first.
    const auto gradient = [&](const Parameter* parameter) {
      for (size_t i = 0; parameter && i < gradients.size(); ++i) {
        if (tape.parameters()[i].get() != parameter) continue;
        gradients[i] = tape.New(parameter->value.elements, parameter->value.width, Kind::kGradient);
      }
    };
    const auto scratch = [&](int64_t elements) { return cast ? tape.New(elements, width, Kind::kGradient) : Tensor(); };

    // The logits are an output too: autograd hands zeros in for their gradient, and keeps them to the end.
    const Tensor zeros = tape.New(kept.logits.elements, width, Kind::kLogits);
    Tensor logits = tape.New(kept.logits.elements, width, Kind::kLogits);
    kept.logits = kept.maximum = kept.sum = {};
    Tensor head = scratch(table);
    if (cast) kept.input = {};
    Tensor first = tape.New(size, width);
    // Without a cast Inductor computes the table's gradient last, into the sum with the embedding's.
    if (cast) logits = {};
    kept.head_weight = {};
    Tensor stream = tape.New(size, kFull);
    Tensor second = cast ? tape.New(size, width) : Tensor();
    kept.norm = {};
    gradient(weights_.norm_weight);
    gradient(weights_.norm_bias);

    Tensor down = scratch(model.inner * model.hidden), out, qkv, inner, packed;
    for (size_t i = weights_.blocks.size(); i-- > 0;) {
      const NanoGptBlock& block = weights_.blocks[i];
      KeptBlock& saved = kept.blocks[i];
      saved.activated = saved.mask2 = {};
      if (!inner) inner = tape.New(run.tokens() * model.inner, width);
      saved.down_weight = {};
      gradient(block.down_bias);
      gradient(block.down_weight);
      saved.up = {};
      saved.input2 = saved.up_weight = {};
      gradient(block.up_bias);
      gradient(block.up_weight);
      saved.norm2 = saved.mask1 = {};
      gradient(block.norm2_weight);
      gradient(block.norm2_bias);
      if (!out) out = scratch(model.hidden * model.hidden);
      if (cast) first = {};
      saved.out_weight = {};
      gradient(block.out_bias);
      gradient(block.out_weight);
      std::vector<Tensor> parts = AttentionGradients(tape, run.attention_shape(), run.attention, width);
      first = second = {};
      saved.attended = saved.qkv = {};
      saved.attention.clear();
      if (!packed) packed = tape.New(3 * size, width);
      parts[0] = {};
      if (!qkv) qkv = scratch(3 * model.hidden * model.hidden);
      saved.input1 = saved.qkv_weight = {};
      gradient(block.qkv_bias);
      gradient(block.qkv_weight);
      first = std::move(parts[2]);
      if (cast) second = std::move(parts[1]);
      saved.norm1 = {};
      gradient(block.norm1_weight);
      gradient(block.norm1_bias);
    }
    down = out = qkv = inner = packed = first = second = {};
    Tensor embedded = tape.New(table, kFull, Kind::kGradient);
    kept = {};
    gradient(weights_.positions);
    gradient(weights_.tokens);
    return gradients;
  }

  NanoGptParameters weights_;
};

}  // namespace

std::unique_ptr<Network> MakeCompiledNanoGpt(Run& run) { return std::make_unique<CompiledNanoGpt>(run); }

}  // namespace oomtrace::plan
