// Requests to the allocator of a training of which no whole iteration was recorded: what is on record, then what the
// rest of its first iteration and a second one have to ask for.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/advise/forward_demand.h"
#include "analyzer/diagnose/batch.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/replay/replay.h"

namespace oomtrace {

// What is changed. Factors are of the bytes.
struct OutlineChange {
  double batch = 1;      // micro-batch; below 1 two of them run before each step
  double weights = 1;    // parameters, and their gradients and state with them
  double gradients = 1;  // of what remains by `weights`
  double optimizer = 1;  // of what remains by `weights`
  double kept = 1;       // what a forward keeps for its backward, without logits
  double logits = 1;
  bool step_temporaries = true;
  bool untrained_graphs = true;  // kept of the forwards of networks that no optimizer trains
  int64_t unseen = 0;            // bytes set aside for activations where no forward was seen
  // Whether weights, state and activations of the recorded part stay as they were: then that part comes first.
  bool LeavesRecord() const {
    return weights == 1 && gradients == 1 && optimizer == 1 && kept == 1 && logits == 1 && step_temporaries &&
           untrained_graphs && unseen == 0;
  }
};

// Blocks of the rest have the sizes of the recorded ones: parameters are known one by one, activations are those that
// the recorded forward kept, repeated up to what `demand` says of a whole forward. Gradients stay beside the second
// forward, as they do where zero_grad comes after it.
std::vector<StreamOp> OutlineStream(const Facts& facts, const BatchCarriers& carriers, const States& states,
                                    const Demand& demand, const OutlineChange& change);

}  // namespace oomtrace
