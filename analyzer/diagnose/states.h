// What stays in memory from step to step once training runs: parameters, all gradients, the optimizer's state. What
// the run had not reached when it died is added.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

struct States {
  int64_t parameters = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t largest_parameter = 0;
  // What a step makes beside state, all at once: the foreach forms of the optimizers that divide by a root keep one
  // temporary for each parameter.
  int64_t step_temporaries = 0;
  bool optimizer_seen = true;   // false: its state was not born yet, and is computed from its class
  bool optimizer_known = true;  // false: no optimizer was seen, AdamW is assumed
  // Nothing of training was seen, no forward that keeps a graph among it: gradients and state are what training with
  // AdamW would add, and are part of no total.
  bool run_only = false;
  std::string optimizer_type;
  int64_t total() const { return run_only ? parameters : parameters + gradients + optimizer; }
  int64_t if_trained() const { return parameters + gradients + optimizer; }
};

States CompleteStates(const Facts& facts);

// Bytes of state that an optimizer of this class keeps for each byte of its parameters (32-bit ones): 2 for Adam's
// two moments, 1 for one moment or a momentum, 0 for plain SGD, 0.5 for the 8-bit Adams.
double StatePerParameterByte(const std::string& type, const std::string& options);

// Whether a step of this optimizer makes such temporaries.
bool StepsWithTemporaries(const std::string& type, const std::string& options);

bool IsParameterState(Category category);  // parameter, gradient or optimizer state

}  // namespace oomtrace
