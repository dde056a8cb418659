#include "cli/deciding_report.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "analyzer/analyze.h"

namespace oomtrace {

namespace fs = std::filesystem;

std::optional<RankReport> DecidingReport(const std::vector<fs::path>& traces) {
  const auto weight = [](const report::Report& r) {
    return std::pair(r.out_of_memory().happened(), r.peak().reserved());
  };
  std::optional<RankReport> deciding;
  int64_t world_size = 0;
  for (const fs::path& trace : traces) {
    absl::StatusOr<RankReport> rank = AnalyzeRank(trace.string(), AnalyzeOptions{});
    if (!rank.ok()) continue;
    world_size = std::max(world_size, rank->world_size);
    if (!deciding || weight(rank->report) > weight(deciding->report)) deciding = *std::move(rank);
  }
  if (deciding) deciding->world_size = world_size;
  return deciding;
}

}  // namespace oomtrace
