// What one rank had more of than the others, as far as their traces can be compared.
#pragma once

#include <string>
#include <vector>

#include "analyzer/job/job.h"

namespace oomtrace {

struct Comparison {
  std::vector<std::string> reasons;  // how `worst` differs, as sentences
  std::vector<std::string> notes;    // what could not be compared, and why
};

// Compares `worst` (the first to die, or without a death the fullest) with the median of the others.
//
// Ranks end at different moments. What lives through a run (other processes, parameters, states, the growth of a leak)
// is compared between all that had it yet. What comes and goes within a step (inputs, activations, the cache) is
// compared only with ranks that were at the same point or came further: of these the most that they had at any of their
// peaks. The others are named in a note.
Comparison CompareRanks(const std::vector<const RankReport*>& ranks, const RankReport& worst);

// The lower of the two in the middle; 0 of none.
int64_t Median(std::vector<int64_t> values);

// "rank 3"
std::string RankName(const RankReport& rank);

}  // namespace oomtrace
