#include "analyzer/timeline/folded_steps.h"

#include <algorithm>

namespace oomtrace {
namespace {

int64_t Between(int64_t from, int64_t to, int64_t from_time, int64_t to_time, int64_t time) {
  if (to_time <= from_time) return to;
  const double share = static_cast<double>(time - from_time) / static_cast<double>(to_time - from_time);
  return from + static_cast<int64_t>(static_cast<double>(to - from) * share);
}

}  // namespace

void ApplyFoldedSteps(const std::vector<FoldedStepsEvent>& folded, std::vector<Step>* steps) {
  size_t first = 0;  // the first span that ends behind the step's begin
  for (Step& step : *steps) {
    while (first < folded.size() && folded[first].end_time <= step.begin) ++first;
    for (size_t i = first; i < folded.size(); ++i) {
      const FoldedStepsEvent& span = folded[i];
      step.peak = std::max(step.peak, span.peak);
      if (span.end_time < step.end) continue;
      if (span.steps > 0) {
        const bool has_before = i > 0;
        step.live_at_end = Between(has_before ? folded[i - 1].live : span.live, span.live,
                                   has_before ? folded[i - 1].end_time : 0, span.end_time, step.end);
      }
      break;
    }
  }
}

}  // namespace oomtrace
