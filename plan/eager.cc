#include "plan/eager.h"

#include <algorithm>
#include <utility>

namespace oomtrace::plan {
namespace {

constexpr int kFull = 4;  // bytes of float32
// aten/src/ATen/native/cuda/Embedding.cu: above this many ids the gradient is summed by segments of 10.
constexpr int64_t kSegmentedEmbeddingFrom = 3072;
// Sums over rows stage partial sums in global memory: two floats an element where there are few (Reduce.cuh).
constexpr int64_t kBytesPerSummed = 8;
constexpr int64_t kLargestSumStaging = 64 << 20;

using Tensors = std::vector<Tensor>;

}  // namespace

Tensor Eager::Cast(const Tensor& x, int width) {
  if (x.width == width) return x;
  Tensor y = tape_.New(x.elements, width, x.kind);
  const int before = x.width;
  Tape& tape = tape_;
  tape_.Record({&y}, {&x}, {}, [&tape, before](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(gradients[0].elements, before, gradients[0].kind)};
  });
  return y;
}

Tensor Eager::CastWeight(Parameter& weight) {
  if (cast_width_ == 0 || weight.value.width == cast_width_) return weight.value;
  if (const auto found = casts_.find(&weight); found != casts_.end()) return found->second;
  Tensor cast = tape_.New(weight.value.elements, cast_width_, Kind::kWeightCopy);
  Tape& tape = tape_;
  const int before = weight.value.width;
  tape_.Record({&cast}, {&weight.value}, {}, [&tape, before](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(gradients[0].elements, before, Kind::kGradient)};
  });
  casts_[&weight] = cast;
  return cast;
}

Tensor Eager::Linear(const Tensor& x, Parameter& weight, Parameter* bias, int64_t out, Kind kind) {
  // C++ casts the arguments from the last to the first.
  const Tensor b = bias ? CastWeight(*bias) : Tensor();
  const Tensor w = CastWeight(weight);
  const Tensor input = cast_width_ ? Cast(x, cast_width_) : x;
  const int64_t in = w.elements / out;
  const int64_t rows = input.elements / in;
  Tensor y = tape_.New(rows * out, input.width, kind);
  Tape& tape = tape_;
  const int width = input.width;
  const bool want_input = static_cast<bool>(input.edge.node);
  const auto backward = [&tape, rows, in, out, width, want_input, with_bias = bias != nullptr, input_kind = input.kind](
                            Tensors&, Tensors&) -> Tensors {
    Tensor dx, dw, db;
    const auto input_gradient = [&] {
      if (want_input) dx = tape.New(rows * in, width, input_kind);
    };
    if (with_bias) input_gradient();
    dw = tape.New(in * out, width, Kind::kGradient);
    dw.view = true;
    if (!with_bias) input_gradient();
    if (!with_bias) return {dx, dw};
    db = tape.New(out, width, Kind::kGradient);
    tape.New(std::min(rows * out * kBytesPerSummed, kLargestSumStaging), 1, Kind::kTemporary);
    return {dx, dw, db};
  };
  if (bias) {
    tape_.Record({&y}, {&input, &w, &b}, {input, w}, backward);
  } else {
    tape_.Record({&y}, {&input, &w}, {input, w}, backward);
  }
  return y;
}

Tensor Eager::Embedding(const Tensor& ids, Parameter& table, int64_t width) {
  Tensor y = tape_.New(ids.elements * width, table.value.width);
  Tape& tape = tape_;
  const int64_t rows = ids.elements, elements = table.value.elements;
  const int bytes = table.value.width;
  tape_.Record({&y}, {&table.value}, {ids}, [&tape, rows, elements, width, bytes](Tensors&, Tensors&) -> Tensors {
    Tensor gradient = tape.New(elements, bytes, Kind::kGradient);
    if (rows > kSegmentedEmbeddingFrom) tape.New((rows + rows / 10) * width, kFull, Kind::kTemporary);
    return {gradient};
  });
  return y;
}

Tensor Eager::LayerNorm(const Tensor& x, Parameter& weight, Parameter* bias, int64_t width) {
  const Tensor input = cast_width_ ? Cast(x, kFull) : x;
  const int64_t rows = input.elements / width;
  Tensor y = tape_.New(input.elements, input.width);
  const Tensor mean = tape_.New(rows, kFull), deviation = tape_.New(rows, kFull);
  Tape& tape = tape_;
  const int bytes = input.width;
  const auto backward = [&tape, bytes, width, with_bias = bias != nullptr](Tensors& gradients, Tensors&) -> Tensors {
    Tensor dx = tape.New(gradients[0].elements, bytes);
    Tensor dw = tape.New(width, bytes, Kind::kGradient);
    if (!with_bias) return {dx, dw};
    return {dx, dw, tape.New(width, bytes, Kind::kGradient)};
  };
  if (bias) {
    tape_.Record({&y}, {&input, &weight.value, &bias->value}, {input, mean, deviation}, backward);
  } else {
    tape_.Record({&y}, {&input, &weight.value}, {input, mean, deviation}, backward);
  }
  return y;
}

Tensor Eager::Pointwise(const Tensor& x) {
  Tensor y = tape_.New(x.elements, x.width, x.kind);
  Tape& tape = tape_;
  tape_.Record({&y}, {&x}, {x}, [&tape](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(gradients[0].elements, gradients[0].width, gradients[0].kind)};
  });
  return y;
}

void Eager::RecordPointwise(Tensor& y, const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved) {
  std::vector<std::pair<int64_t, int>> shapes;
  for (const Tensor* input : inputs) shapes.emplace_back(input->elements, input->width);
  Tape& tape = tape_;
  tape_.Record({&y}, inputs, std::move(saved), [&tape, shapes](Tensors&, Tensors&) -> Tensors {
    Tensors gradients;
    for (const auto& [elements, width] : shapes) gradients.push_back(tape.New(elements, width));
    return gradients;
  });
}

Tensor Eager::Product(const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved, int64_t elements,
                      int width) {
  Tensor y = tape_.New(elements, width);
  RecordPointwise(y, inputs, std::move(saved));
  return y;
}

Tensor Eager::RmsNorm(const Tensor& x, Parameter& weight, int64_t width) {
  const Tensor full = Cast(x, kFull);
  const int64_t rows = full.elements / width;
  Tensor scale;
  {
    const Tensor squares = Product({&full}, {full}, full.elements, kFull);
    const Tensor mean = Product({&squares}, {}, rows, kFull);
    scale = Product({&mean}, {mean}, rows, kFull);
  }
  const Tensor normal = Product({&full, &scale}, {full, scale}, full.elements, kFull);
  const Tensor narrow = Cast(normal, x.width);
  Tensor y = tape_.New(x.elements, x.width);
  Tape& tape = tape_;
  tape_.Record({&y}, {&weight.value, &narrow}, {narrow}, [&tape, width](Tensors& gradients, Tensors&) -> Tensors {
    const Tensor& gradient = gradients[0];
    Tensor dx = tape.New(gradient.elements, gradient.width);
    const Tensor products = tape.New(gradient.elements, gradient.width, Kind::kTemporary);
    return {tape.New(width, gradient.width, Kind::kGradient), dx};
  });
  return y;
}

Tensor Eager::Dropout(const Tensor& x, double probability, bool training) {
  if (probability <= 0 || !training) return x;
  const Tensor mask = tape_.New(x.elements, 1);
  Tensor y = tape_.New(x.elements, x.width, x.kind);
  Tape& tape = tape_;
  tape_.Record({&y}, {&x}, {mask}, [&tape](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(gradients[0].elements, gradients[0].width, gradients[0].kind)};
  });
  return y;
}

Tensor Eager::Add(const Tensor& a, const Tensor& b) {
  Tensor y = tape_.New(a.elements, std::max(a.width, b.width), a.kind);
  Tape& tape = tape_;
  const int64_t repeated = b.elements == a.elements ? 0 : b.elements;
  tape_.Record({&y}, {&a, &b}, {}, [&tape, repeated](Tensors& gradients, Tensors&) -> Tensors {
    const Tensor& gradient = gradients[0];
    if (repeated == 0) return {gradient, gradient};
    return {gradient, tape.New(repeated, gradient.width)};
  });
  return y;
}

Tensor Eager::Scale(const Tensor& scalar) {
  Tensor y = tape_.New(1, scalar.width, Kind::kTemporary);
  Tape& tape = tape_;
  tape_.Record({&y}, {&scalar}, {}, [&tape](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(1, gradients[0].width, Kind::kTemporary)};
  });
  return y;
}

Tensor Eager::CrossEntropy(const Tensor& logits, const Tensor& targets) {
  // log_softmax keeps its result in the type of the logits; nll_loss is cast to float32 under autocast.
  Tensor logarithms = tape_.New(logits.elements, logits.width, Kind::kLogits);
  Tape& tape = tape_;
  tape_.Record({&logarithms}, {&logits}, {logarithms}, [&tape](Tensors& gradients, Tensors&) -> Tensors {
    return {tape.New(gradients[0].elements, gradients[0].width, Kind::kLogits)};
  });
  const Tensor chosen = cast_width_ ? Cast(logarithms, kFull) : logarithms;
  logarithms = {};
  Tensor loss = tape_.New(1, chosen.width, Kind::kTemporary);
  const Tensor weight = tape_.New(1, chosen.width, Kind::kTemporary);
  const int64_t elements = chosen.elements;
  const int width = chosen.width;
  tape_.Record({&loss}, {&chosen}, {chosen, targets, weight}, [&tape, elements, width](Tensors&, Tensors&) -> Tensors {
    return {tape.New(elements, width, Kind::kLogits)};
  });
  return loss;
}

}  // namespace oomtrace::plan
