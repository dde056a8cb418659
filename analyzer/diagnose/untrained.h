// Networks that no optimizer trains, and that run with gradients on: a teacher, a reward model, a loss network.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

struct Untrained {
  bool found = false;
  std::set<uint64_t> roots;  // identities of the networks
  int64_t parameters = 0;    // bytes in no optimizer
  int64_t gradients = 0;     // bytes of their gradients that live
  int64_t activations = 0;   // bytes that live because of their forward, and that a graph may need
  uint32_t stack = 0;        // of the largest of these, 0: none
  std::string type;          // of the largest network
  // No backward pass has ended without giving them gradients: those that have none will get one each.
  bool gets_gradients = false;
  // Before it nothing that is trained had run in this micro-batch: no gradient has to flow through it.
  bool comes_first = false;
};

// Only of networks that ran with gradients on, or got gradients. The parts of one model are not told apart.
Untrained FindUntrained(const Facts& facts);

}  // namespace oomtrace
