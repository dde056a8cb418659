// Attention kernels: what they keep for the backward pass, and what they need there.
#include <utility>

#include "plan/eager.h"

namespace oomtrace::plan {
namespace {

constexpr int kFull = 4;
using Tensors = std::vector<Tensor>;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

std::vector<Tensor> AttentionKept(Tape& tape, const AttentionShape& shape, AttentionKernel kernel) {
  // The log-sum-exp of each row of scores; the efficient kernel pads the rows to 32.
  const int64_t rows = kernel == AttentionKernel::kEfficient ? RoundUp(shape.tokens, 32) : shape.tokens;
  std::vector<Tensor> kept = {tape.New(shape.batch * shape.heads * rows, kFull)};
  // State of the random numbers.
  if (kernel != AttentionKernel::kEfficient) kept.push_back(tape.New(2, 8));
  return kept;
}

std::vector<Tensor> AttentionGradients(Tape& tape, const AttentionShape& shape, AttentionKernel kernel, int width) {
  const int64_t tokens = shape.batch * shape.tokens;
  Tensor dq = tape.New(tokens * shape.heads * shape.head_width, width);
  Tensor dk = tape.New(tokens * shape.key_heads * shape.head_width, width);
  Tensor dv = tape.New(tokens * shape.key_heads * shape.head_width, width);
  if (kernel == AttentionKernel::kFlash) {
    // dq is summed in float32, over tokens in blocks of 128 and heads of a multiple of 32 (flash_api.cpp, mha_bwd).
    const int64_t rows = shape.batch * shape.heads * RoundUp(shape.tokens, 128);
    const Tensor sums = tape.New(rows, kFull, Kind::kTemporary);
    const Tensor total = tape.New(rows * RoundUp(shape.head_width, 32), kFull, Kind::kTemporary);
  } else if (kernel == AttentionKernel::kEfficient) {
    // The product of the output and its gradient, then a workspace (attention_backward.cu).
    const int64_t size = tokens * shape.heads * shape.head_width;
    tape.New(size, width, Kind::kTemporary);
    tape.New(size, kFull, Kind::kTemporary);
  }
  return {dq, dk, dv};
}

Tensor Eager::PackedAttention(const Tensor& qkv, const AttentionShape& shape, AttentionKernel kernel) {
  Tensor q = qkv.Detached(), k = qkv.Detached(), v = qkv.Detached();
  Tape& tape = tape_;
  const int64_t elements = qkv.elements;
  const int width = qkv.width;
  tape_.Record({&q, &k, &v}, {&qkv}, {},
               [&tape, elements, width](Tensors&, Tensors&) -> Tensors { return {tape.New(elements, width)}; });
  return Attention(q, k, v, shape, kernel);
}

Tensor Eager::Attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                        AttentionKernel kernel) {
  Tensor y = tape_.New(shape.batch * shape.tokens * shape.heads * shape.head_width, q.width);
  Tensors saved = {q, k, v, y};
  for (Tensor& kept : AttentionKept(tape_, shape, kernel)) saved.push_back(std::move(kept));
  Tape& tape = tape_;
  const int width = q.width;
  tape_.Record({&y}, {&q, &k, &v}, std::move(saved), [&tape, shape, kernel, width](Tensors&, Tensors&) -> Tensors {
    return AttentionGradients(tape, shape, kernel, width);
  });
  return y;
}

}  // namespace oomtrace::plan
