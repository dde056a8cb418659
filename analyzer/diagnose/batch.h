// The batch dimension of a training run, read off the shapes: which tensors grow with the batch and which do not.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct Batch {
  int64_t size = 0;            // samples in a micro-batch, 0: could not be told
  std::vector<int64_t> input;  // shape of the largest input, empty where inputs were not seen arriving
  bool from_inputs = false;    // read off inputs copied from the host, else off the activations' leading dimension
};

// The batch that was in work at `moment`: the last inputs before it, else the activations since the last boundary.
Batch InferBatch(const Timeline& timeline, int64_t moment);

// Tells the tensors whose size is proportional to the batch. Leading dimension B; or B times a dimension that tensors
// leading with B have next to it (tokens = B x T); or B second, where the inputs have it there; or B after the inputs'
// own second dimension. A tensor shaped like a
// parameter (a cast of a weight, its gradient) does not carry the batch, whatever its numbers; but what a module's
// forward makes does, unless the parameter is that module's own. When in doubt: no, which
// makes predictions for smaller batches too high rather than too low.
class BatchCarriers {
 public:
  BatchCarriers(const Timeline& timeline, const Batch& batch);
  bool Carries(const Tensor& tensor) const;
  bool Carries(const std::vector<int64_t>& shape) const;

 private:
  bool Follows(const std::vector<int64_t>& shape) const;

  const Timeline& timeline_;
  int64_t size_;
  bool second_ = false;  // B stands second in the inputs
  int64_t length_ = 0;   // the inputs' dimension next to B, 0: none
  std::set<int64_t> multiples_;
  std::set<std::vector<int64_t>> parameter_shapes_;
  std::set<std::pair<std::string, std::vector<int64_t>>> own_shapes_;  // with the path of the module that has it
};

}  // namespace oomtrace
