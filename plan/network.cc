#include "plan/network.h"

#include "plan/nanochat.h"
#include "plan/nanogpt.h"
#include "plan/transformers.h"

namespace oomtrace::plan {

std::unique_ptr<Network> MakeNetwork(Run& run) {
  if (run.model.family == Family::kGpt2) return MakeGpt2(run);
  if (run.model.family == Family::kNanochat) return MakeNanochat(run);
  if (run.model.family == Family::kLlama) return MakeLlama(run);
  return run.training.compile ? MakeCompiledNanoGpt(run) : MakeNanoGpt(run);
}

bool KeepsLogits(const Model& model) { return model.family == Family::kNanoGpt; }

Tensor Checkpointed(Run& run, const Tensor& x, const std::function<Tensor(const Tensor&)>& block) {
  Tape& tape = run.tape;
  tape.set_recording(false);
  Tensor y = block(x);
  tape.set_recording(true);
  tape.Record({&y}, {&x}, {x}, [&run, &tape, block](std::vector<Tensor>& gradients, std::vector<Tensor>& saved) {
    // The block runs again, from its input, in an autocast context of its own.
    Tensor input = saved[0];
    const auto arrival = std::make_shared<Node>();
    const auto gradient = std::make_shared<Tensor>();
    arrival->sequence = ~uint64_t{0};
    arrival->backward = [gradient](std::vector<Tensor>& arrived, std::vector<Tensor>&) {
      *gradient = arrived[0];
      return std::vector<Tensor>();
    };
    input.edge = {arrival, 0};
    run.eager.EnterAutocast();
    const Tensor again = block(input);
    run.eager.LeaveAutocast();
    tape.RunBackward(again, gradients[0]);
    return std::vector<Tensor>{*gradient};
  });
  return y;
}

}  // namespace oomtrace::plan
