// Results that an evaluation keeps on the device from one of its batches to the next, to join them at its end: memory
// proportional to the data set, which no smaller batch makes smaller.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

struct KeptOutputs {
  bool found = false;
  int64_t bytes = 0;      // alive at the death
  int64_t count = 0;      // tensors
  int64_t per_batch = 0;  // bytes
  uint32_t first = 0;     // index into Timeline::tensors: the earliest of the most
  uint32_t example = 0;   // the latest
  std::string holder;     // the Python name that keeps them, "" where not known
  bool joining = false;   // it died while joining them: the refused tensor is the copy of them all
};

// Looks at the evaluation that died: tensors of one line and one shape that live on while batch after batch goes
// through the model, and that are at least a quarter of what lives beside the model's states; or one tensor that each
// batch replaces by a larger one, joined with its own. Tensors that a graph keeps (gradients on) are no outputs.
KeptOutputs FindKeptOutputs(const Facts& facts);

}  // namespace oomtrace
