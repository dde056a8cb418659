// Builds the timeline of one process from its trace.
#pragma once

#include "absl/status/statusor.h"
#include "analyzer/read/trace_reader.h"
#include "analyzer/timeline/selection.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Reads all events of `reader`, twice. Never fails: what is damaged or lost is in the timeline's counters. Memory is
// bounded by `limits`, whatever the number of tensors.
Timeline BuildTimeline(TraceReader* reader, const SelectionLimits& limits = {}, const Progress& progress = {});

// The same; DataLoss where damage has left no event.
absl::StatusOr<Timeline> ReadTimeline(TraceReader* reader, const SelectionLimits& limits = {},
                                      const Progress& progress = {});

// The same from a file, with the errors of TraceReader::Open, too.
absl::StatusOr<Timeline> ReadTimeline(const std::string& path, const SelectionLimits& limits = {},
                                      const Progress& progress = {});

}  // namespace oomtrace
