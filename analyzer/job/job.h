// Several traces of one job, one a rank: which rank ran out of memory first, which others went down with it, and how
// that rank differs from the rest. Works on finished reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "job.pb.h"
#include "report.pb.h"

namespace oomtrace {

// One process's report, and who it was.
struct RankReport {
  report::Report report;
  int64_t rank = -1;       // RANK, as launchers set it; -1: not set
  int64_t world_size = 0;  // WORLD_SIZE, 0: not set
  std::string host;
  int64_t start = 0;   // ns since 1970, by the host's clock
  int64_t death = -1;  // ns since the start: the refusal that it died of; -1: it did not

  int64_t end() const;  // ns since 1970: of the death, else of the last event
};

// Nothing where the reports are not those of one job: at least two, with ranks that differ and one number of ranks.
//
// Clocks are compared on one host only. Where ranks of several hosts ran out of memory, the one that was first by its
// own clock is named, `certain` is false, and a note says why.
std::optional<report::Job> MergeReports(const std::vector<RankReport>& reports);

}  // namespace oomtrace
