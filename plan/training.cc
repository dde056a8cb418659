#include "plan/training.h"

#include <algorithm>

#include "plan/network.h"
#include "plan/optimizer.h"

namespace oomtrace::plan {
namespace {

// The optimizer's state is born in the first step; what the second leaves behind the third finds again.
constexpr int kSteps = 3;
// What is reserved did not grow further from the fourth on, in any plan tried.
constexpr int64_t kMicroBatches = 4;
constexpr int kEvaluations = 2;

struct Batch {
  Tensor ids;
  Tensor targets;
};

Batch Fetch(Run& run) {
  return {run.tape.New(run.tokens(), 8, Kind::kBatch), run.tape.New(run.tokens(), 8, Kind::kBatch)};
}

// As estimate_loss() of nanoGPT.
void Evaluate(Run& run, Network& network) {
  run.tape.set_recording(false);
  Batch batch;
  Output output;
  for (int i = 0; i < kEvaluations; ++i) {
    batch = Fetch(run);
    output = network.Forward(run, batch.ids, batch.targets, false);
  }
  run.tape.set_recording(true);
}

void TrainStep(Run& run, Network& network, OptimizerState& optimizer, Batch& batch, Output& output) {
  const int64_t micro_batches = std::min(run.training.accumulation, kMicroBatches);
  for (int64_t i = 0; i < micro_batches; ++i) {
    // The names keep the last logits alive until the next ones are there.
    output = network.Forward(run, batch.ids, batch.targets, true);
    output.loss = run.eager.Scale(output.loss);
    if (!KeepsLogits(run.model)) output.logits = {};
    batch = Fetch(run);
    if (!run.backward_workspace)
      run.backward_workspace = std::make_shared<Block>(run.tape.memory(), WorkspaceBytes(run.card), Kind::kWorkspace);
    run.tape.RunBackward(output.loss);
  }
  optimizer.Step();
  for (const auto& parameter : run.tape.parameters()) parameter->gradient.reset();
}

}  // namespace

Estimate Play(const Model& model, const Training& training, const Card& card, int64_t capacity) {
  AllocatorConfig config;
  config.capacity = capacity;
  Memory memory(config);
  Tape tape(memory);
  Estimate estimate;
  {
    Run run{model, training,
            card,  ChooseAttention(card, model, training.precision),
            tape,  Eager(tape, CastWidth(training.precision)),
            {}};
    Batch batch = Fetch(run);
    const std::unique_ptr<Network> network = MakeNetwork(run);
    for (const auto& parameter : tape.parameters()) estimate.parameters += parameter->value.elements;
    OptimizerState optimizer(tape, training.optimizer);
    run.forward_workspace = std::make_shared<Block>(memory, WorkspaceBytes(card), Kind::kWorkspace);
    Output output;
    if (training.evaluation) Evaluate(run, *network);
    for (int step = 0; step < kSteps && !memory.refused(); ++step) TrainStep(run, *network, optimizer, batch, output);
  }
  estimate.peak_allocated = memory.peak_allocated();
  estimate.peak_reserved = memory.peak_reserved();
  estimate.at_peak = memory.at_peak();
  estimate.refused = memory.refused();
  estimate.refused_bytes = memory.refused_bytes();
  estimate.refused_kind = memory.refused_kind();
  return estimate;
}

}  // namespace oomtrace::plan
