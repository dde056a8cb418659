// Builds the timeline of one process from its trace.
#pragma once

#include "absl/status/statusor.h"
#include "analyzer/read/trace_reader.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Reads all events of `reader`. Never fails: what is damaged or lost is in the timeline's counters.
Timeline BuildTimeline(TraceReader* reader);

// The same from a file, with the errors of TraceReader::Open; DataLoss also where damage has left no event.
absl::StatusOr<Timeline> ReadTimeline(const std::string& path);

}  // namespace oomtrace
