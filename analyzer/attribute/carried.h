// What modules carry from one call to the next while they generate: caches of keys and values.
#pragma once

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Marks as KV cache, once every tensor has a category. Evidence, without gradients and inside a module's call:
// - a chain: the same line of the same module makes a tensor again and again, each with one dimension larger than the
//   one before and else alike, and each of them lives until the next is there (a cache that grows by concatenation);
// - a reserve: a line makes the same tensor in several modules, once in each, and these live on while each of the
//   modules is called often (a cache of fixed size).
void MarkCarriedState(Timeline* timeline);

}  // namespace oomtrace
