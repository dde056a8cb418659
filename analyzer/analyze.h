// A trace file's report: read, timeline, attribution, diagnosis and advice, in that order.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "analyzer/job/job.h"
#include "analyzer/read/progress.h"
#include "report.pb.h"

namespace oomtrace {

struct AnalyzeOptions {
  Progress progress;  // of the reading: what follows is short
};

// Fails with the errors of ReadTimeline: NotFound or InvalidArgument for what is no trace, DataLoss for one that is
// damaged beyond use. A readable prefix is analysed, and the damage stands in the report.
absl::StatusOr<report::Report> AnalyzeTrace(const std::string& path, const AnalyzeOptions& options);

// The same, and which rank of which job it was.
absl::StatusOr<RankReport> AnalyzeRank(const std::string& path, const AnalyzeOptions& options);

}  // namespace oomtrace
