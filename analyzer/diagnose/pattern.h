// Which of the nine patterns a run shows, and what it rests on.
#pragma once

#include <string>
#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/kept_outputs.h"
#include "analyzer/diagnose/leak.h"

namespace oomtrace {

// Where Facts::without_context.
inline constexpr char kWithoutContext[] =
    "This process holds nothing yet: the CUDA context itself, which takes some hundred MiB, found no room.";

struct Pattern {
  std::string name;
  double confidence = 0;
  std::vector<std::string> evidence;
};

Pattern DecidePattern(const Facts& facts, const Leak& leak, const KeptOutputs& kept);

// Whether so little of the run is in the trace that not even its peak can be told: no events, or more lost than there.
bool SaysNothing(const Timeline& timeline);

// Whether events were dropped and the process's end is not in the trace: what was lost may be a death.
bool EndMayBeLost(const Timeline& timeline);
// What a verdict may be worth at most, by what the trace lost.
double MostConfidence(const Timeline& timeline);

// How much larger the batch in work is than any before it, made by the same lines. 0: nothing to compare with.
struct Outlier {
  double ratio = 0;
  std::string input;         // "(16, 2048) int64 at train.py:40", "" where no input was larger
  std::string input_before;  // "(16, 512)": the largest before
};
Outlier CompareWithEarlierBatches(const Facts& facts);

}  // namespace oomtrace
