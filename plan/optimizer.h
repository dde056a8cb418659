// Optimizers: their state, born in the first step, and what a step needs meanwhile.
#pragma once

#include <vector>

#include "plan/model.h"
#include "plan/tape.h"

namespace oomtrace::plan {

class OptimizerState {
 public:
  OptimizerState(Tape& tape, Optimizer kind) : tape_(tape), kind_(kind) {}
  void Step();

 private:
  void MakeState();
  void StepMuon();

  Tape& tape_;
  Optimizer kind_;
  std::vector<Tensor> state_;
};

}  // namespace oomtrace::plan
