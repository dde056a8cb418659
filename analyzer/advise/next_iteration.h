// The recorded stream carried on by one more whole iteration, with the micro-batch rescaled: what the allocator model
// is run on to say whether a change fits.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/diagnose/batch.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/replay/replay.h"

namespace oomtrace {

// True when a whole training iteration (a step with its forward and backward) was recorded before the moment.
bool HasWholeIteration(const Facts& facts);

struct Scale {
  int64_t numerator = 1;    // new micro-batch
  int64_t denominator = 1;  // recorded micro-batch
};

// All recorded requests up to the end of the last whole step, then that step's requests once more, without what is
// made only once (the optimizer's state, lazily made buffers). Sizes that carry the batch are multiplied by `scale`.
// With a smaller micro-batch at least two run before the step, so that gradients lie beside the activations.
// Empty where no whole iteration was recorded.
std::vector<StreamOp> NextIterationStream(const Facts& facts, const BatchCarriers& carriers, Scale scale);

}  // namespace oomtrace
