// Steps whose events the recorder has folded away: what it noted of their memory takes the place of what the events
// that are left would say.
#pragma once

#include <vector>

#include "analyzer/read/events.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// `folded`: the spans of the timeline's device, in order of time. Sets peak and live_at_end of the steps that ended in
// them: exactly where a span is one step, else its peak for each of its steps and a straight line between its ends.
void ApplyFoldedSteps(const std::vector<FoldedStepsEvent>& folded, std::vector<Step>* steps);

}  // namespace oomtrace
