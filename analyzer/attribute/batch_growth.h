// Batches that become larger and larger: a curriculum, sequences that lengthen.
#pragma once

#include <cstdint>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Whether what goes through the model grows from step to step, from `begin` to `end` (ns): the first statement that a
// forward runs inside a module makes ever larger tensors, and so do half of all such statements at least. A model
// called with batches of one size does not, however large the tensors that the program makes beside it. Without
// modules: the same of all statements of the forward, or of those where data arrives from the host.
bool BatchGrows(const Timeline& timeline, int64_t begin, int64_t end);

}  // namespace oomtrace
