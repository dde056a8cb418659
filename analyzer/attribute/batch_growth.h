// Batches that become larger and larger: a curriculum, sequences that lengthen.
#pragma once

#include <cstdint>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// How many times as large as in the first third of the time, from `begin` to `end` (ns), is in its last third what goes
// through the model in a step; 1 where it does not grow. It grows where the first line of the program that runs inside
// a module makes ever more in a step, and so do half of all such lines at least. A model called with batches of
// one size does not, however large the tensors that the program makes beside it. Without modules: the same of all
// lines of the forward, or of those where data arrives from the host.
double BatchGrowth(const Timeline& timeline, int64_t begin, int64_t end);
bool BatchGrows(const Timeline& timeline, int64_t begin, int64_t end);

}  // namespace oomtrace
