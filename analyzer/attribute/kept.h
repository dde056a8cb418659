// What a program keeps of earlier steps: histories, memory banks, caches, results, leaks.
#pragma once

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Marks as kept, once every tensor has a category:
// - what was made in training outside of any model's states and is still held steps later. An activation is where the
//   search for holders found a name for it, or for one that the same statement made alike, and not an autograd graph; a
//   gradient is where the owners of gradients were asked since and none had it;
// - what takes the place of such a tensor, one dimension larger, again and again (`bank = torch.cat([bank, new])`),
//   while the batches stay as they are;
// - what the same statement made alike in the last steps and nobody claims.
void MarkKept(Timeline* timeline);

}  // namespace oomtrace
