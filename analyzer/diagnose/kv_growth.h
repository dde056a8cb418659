// A cache of keys and values that fills the card: of one long sequence, or of one request after the other because
// nobody empties it.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

struct KvGrowth {
  bool found = false;
  int64_t bytes = 0;      // of all caches alive at the death; one that is being copied to grow counts twice
  int64_t positions = 0;  // in the largest, along the dimension that grows
  int64_t calls = 0;      // that made it longer, since it was last empty
  int64_t requests = 0;   // prompts: calls that added far more positions than most do, and the one that began it
  uint32_t example = 0;   // index into Timeline::tensors: the largest alive
  std::string holder;     // the Python name that keeps it, "" where not known
  bool never_emptied() const { return requests > 1; }
};

// Looks at an evaluation that died. Found where caches, with the refused tensor if it is to be one of them, are at
// least a quarter of what lives beside the model's states.
KvGrowth FindKvGrowth(const Facts& facts);

// One sentence.
std::string KvSentence(const Facts& facts, const KvGrowth& kv);

}  // namespace oomtrace
