// Why memory ran out: the list of docs/causes.md, ranked by the evidence that this trace gives for each.
#pragma once

#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/pattern.h"

namespace oomtrace {

struct Cause {
  const char* id;
  const char* title;
  double confidence;
};

// Most likely first; those below one in five are left out. Empty for a healthy run without a leak.
std::vector<Cause> RankCauses(const Facts& facts, const Leak& leak, const Pattern& pattern);

// The tensor of the trace's model outputs over a vocabulary: its last dimension is the first one of a weight with at
// least 4096 rows. False where `layout` is 0.
bool IsLogits(const Timeline& timeline, uint32_t layout);
// Batch x heads x length x length, of at least 256 positions.
bool IsAttentionScores(const Timeline& timeline, uint32_t layout);

}  // namespace oomtrace
