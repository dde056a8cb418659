// PyTorch's operations on a CUDA card, one kernel at a time, as autocast runs them: what each allocates, keeps and
// gives back, in its order. Recorded with torch 2.11 (docs/plan.md).
//
// Shapes are in elements. Under autocast `cast_width` is 2, else 0.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "plan/tape.h"

namespace oomtrace::plan {

enum class AttentionKernel { kFlash, kEfficient, kCudnn };

struct AttentionShape {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t key_heads = 0;
  int64_t tokens = 0;
  int64_t head_width = 0;
};

// What an attention kernel keeps besides its inputs and its output.
std::vector<Tensor> AttentionKept(Tape& tape, const AttentionShape& shape, AttentionKernel kernel);
// Gradients of queries, keys and values; what they need meanwhile comes and goes.
std::vector<Tensor> AttentionGradients(Tape& tape, const AttentionShape& shape, AttentionKernel kernel, int width);

class Eager {
 public:
  Eager(Tape& tape, int cast_width) : tape_(tape), cast_width_(cast_width) {}

  // `with torch.autocast(…)` begins and ends: the cast weights are kept between.
  void EnterAutocast() { casts_.clear(); }
  void LeaveAutocast() { casts_.clear(); }

  Tensor Cast(const Tensor& x, int width);
  // x: (rows, in) -> (rows, out). The bias may be null.
  Tensor Linear(const Tensor& x, Parameter& weight, Parameter* bias, int64_t out, Kind kind = Kind::kActivation);
  // A table of `rows` rows of `width` elements: one row for each id.
  Tensor Embedding(const Tensor& ids, Parameter& table, int64_t width);
  Tensor LayerNorm(const Tensor& x, Parameter& weight, Parameter* bias, int64_t width);
  // y = f(x), which keeps x.
  Tensor Pointwise(const Tensor& x);
  // y = c x, which keeps nothing.
  Tensor Scaled(const Tensor& x) { return Product({&x}, {}, x.elements, x.width); }
  // Any other operation by element or repetition: the gradient of each input is as large as the input.
  Tensor Product(const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved, int64_t elements, int width);
  void RecordPointwise(Tensor& y, const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved);
  // LlamaRMSNorm, written out in Python: it keeps its input and the normalised one in float32.
  Tensor RmsNorm(const Tensor& x, Parameter& weight, int64_t width);
  Tensor Dropout(const Tensor& x, double probability, bool training);
  // The wider type wins; `b` may be repeated to the shape of `a`.
  Tensor Add(const Tensor& a, const Tensor& b);
  // q, k and v in one storage, as a split of one projection leaves them.
  Tensor PackedAttention(const Tensor& qkv, const AttentionShape& shape, AttentionKernel kernel);
  Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                   AttentionKernel kernel);
  // Mean cross entropy of the logits (rows x classes) with `targets`.
  Tensor CrossEntropy(const Tensor& logits, const Tensor& targets);
  // A number made of a number.
  Tensor Scale(const Tensor& scalar);

 private:
  Tensor CastWeight(Parameter& weight);

  Tape& tape_;
  int cast_width_;
  std::map<Parameter*, Tensor> casts_;
};

}  // namespace oomtrace::plan
