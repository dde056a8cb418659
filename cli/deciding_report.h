// Which of a job's processes speaks for it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "analyzer/job/job.h"

namespace oomtrace {

// Of the traces of one job the report of the process that ran out of memory, else of the one that reserved most, and
// the number of ranks that a launcher told any of them of. Nothing where no trace can be read.
std::optional<RankReport> DecidingReport(const std::vector<std::filesystem::path>& traces);

}  // namespace oomtrace
