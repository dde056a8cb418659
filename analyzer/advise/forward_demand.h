// What one micro-batch needs beside the model's states when no whole iteration was recorded: an estimate, on the safe
// side, from the part of a forward pass that was.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "analyzer/diagnose/batch.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/states.h"

namespace oomtrace {

struct Demand {
  int64_t fixed = 0;     // beside the states, whatever the batch
  int64_t carrying = 0;  // proportional to the batch, for the batch recorded
  int64_t logits = 0;    // of `carrying`, the logits and their copies
  int64_t kept = 0;      // of `carrying`, what the forward keeps for its backward
  int64_t to_come = 0;   // of `fixed`, what the rest of the forward makes
  int64_t inputs = 0;    // proportional to the batch, and part of neither
  // Of `kept`, what the graphs of networks keep that no optimizer trains.
  int64_t untrained = 0;
  // Of `kept`, what is kept of models that were not called yet, tensor by tensor.
  std::vector<int64_t> models_to_come;
  int64_t to_come_of_models() const {
    return std::accumulate(models_to_come.begin(), models_to_come.end(), int64_t{0});
  }
};

// Bytes that activation checkpointing around each block of a model's longest list of like blocks saves, for the batch
// recorded: what stays is every block's output, the next one's input, and one block at a time with all that it keeps.
// 0: there is no such list on record, or nothing to save.
int64_t SavedByCheckpointing(const Facts& facts, const BatchCarriers& carriers, const Demand& demand);

// The peak of a training micro-batch (forward and backward). Where the recorded forward was cut short, the rest is
// extrapolated by the modules still to come; where that cannot be told, it is doubled. From an evaluation without
// gradients every tensor that it made counts, as training keeps most of them; a compiled one reuses buffers that
// training cannot, hence a factor of 1.5 (measured on a GPT-2: 180 MiB of buffers against 270 MiB kept a sample).
Demand EstimateTraining(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const States& states);

// The peak of the evaluation that died.
Demand EstimateEvaluation(const Facts& facts, const BatchCarriers& carriers);

}  // namespace oomtrace
