// Second copies of a model's weights: moving averages, target networks, teachers, snapshots.
#pragma once

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Marks as second copies, once every tensor has a category:
// - what a module owns of which no optimizer trains anything, while an optimizer trains tensors of the same shapes in
//   another module, as many of each;
// - what copy.deepcopy made in the shape of a trained parameter, and nobody has claimed;
// - tensors that nobody has claimed, made outside of forward and backward by one line of the user's, whose shapes are
//   those of at least half of some model's parameters, by elements.
void MarkSecondCopies(Timeline* timeline);

}  // namespace oomtrace
