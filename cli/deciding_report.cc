#include "cli/deciding_report.h"

#include <utility>

#include "absl/status/statusor.h"
#include "analyzer/analyze.h"

namespace oomtrace {

namespace fs = std::filesystem;

std::optional<report::Report> DecidingReport(const std::vector<fs::path>& traces) {
  const auto weight = [](const report::Report& r) {
    return std::pair(r.out_of_memory().happened(), r.peak().reserved());
  };
  std::optional<report::Report> deciding;
  for (const fs::path& trace : traces) {
    absl::StatusOr<report::Report> report = AnalyzeTrace(trace.string(), AnalyzeOptions{});
    if (report.ok() && (!deciding || weight(*report) > weight(*deciding))) deciding = *std::move(report);
  }
  return deciding;
}

}  // namespace oomtrace
