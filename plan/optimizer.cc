#include "plan/optimizer.h"

#include <map>

namespace oomtrace::plan {
namespace {

constexpr int kFull = 4;

}  // namespace

void OptimizerState::MakeState() {
  for (const auto& parameter : tape_.parameters()) {
    const Tensor& value = parameter->value;
    const auto like = [&] { state_.push_back(tape_.New(value.elements, value.width, Kind::kOptimizer)); };
    switch (kind_) {
      case Optimizer::kAdamwFused:
        // The fused kernel counts its steps on the device.
        state_.push_back(tape_.New(1, kFull, Kind::kOptimizer));
        like();
        like();
        break;
      case Optimizer::kAdamwForeach:
      case Optimizer::kAdamwLoop:
        like();
        like();
        break;
      case Optimizer::kSgdMomentum:
        like();
        break;
      case Optimizer::kMuon:
        // Of matrices one momentum, of the rest the two moments of AdamW.
        like();
        if (!parameter->matrix) like();
        break;
      case Optimizer::kSgd:
        break;
    }
  }
}

// nanochat/optim.py: matrices of one size are stepped as one stack. The stacks of all gradients are made first, those
// of the parameters live to the end; Newton-Schulz iterates on three copies of its stack in bfloat16.
void OptimizerState::StepMuon() {
  std::map<int64_t, int64_t> stacks;
  for (const auto& parameter : tape_.parameters()) {
    if (parameter->matrix) stacks[parameter->value.elements] += parameter->value.elements;
  }
  constexpr int kIterates = 3, kHalf = 2;
  std::vector<Tensor> gradients, parameters;
  for (const auto& [size, elements] : stacks) gradients.push_back(tape_.New(elements, kFull, Kind::kTemporary));
  for (const auto& [size, elements] : stacks) {
    parameters.push_back(tape_.New(elements, kFull, Kind::kTemporary));
    tape_.New(kIterates * elements, kHalf, Kind::kTemporary);
  }
}

void OptimizerState::Step() {
  if (state_.empty()) MakeState();
  if (kind_ == Optimizer::kMuon) return StepMuon();
  std::vector<Tensor> roots;
  for (const auto& parameter : tape_.parameters()) {
    const Tensor& value = parameter->value;
    // torch/optim/adamw.py: the square roots of all second moments at once (foreach), or of one parameter's (the loop).
    if (kind_ == Optimizer::kAdamwForeach) roots.push_back(tape_.New(value.elements, value.width, Kind::kTemporary));
    if (kind_ == Optimizer::kAdamwLoop) roots = {tape_.New(value.elements, value.width, Kind::kTemporary)};
  }
}

}  // namespace oomtrace::plan
