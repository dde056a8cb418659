// Why memory ran out: the list of docs/causes.md, ranked by the evidence that this trace gives for each.
#pragma once

#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/kept_outputs.h"
#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/pattern.h"
#include "analyzer/diagnose/private_pools.h"

namespace oomtrace {

struct Cause {
  const char* id;
  const char* title;
  double confidence;
};

// Most likely first; those below one in five are left out. Empty for a healthy run without a leak.
std::vector<Cause> RankCauses(const Facts& facts, const Leak& leak, const KeptOutputs& kept, const PrivatePools& pools,
                              const Pattern& pattern);

// Batch x heads x length x length, of at least 256 positions.
bool IsAttentionScores(const Timeline& timeline, uint32_t layout);

}  // namespace oomtrace
