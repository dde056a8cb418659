// Which of a job's processes speaks for it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "report.pb.h"

namespace oomtrace {

// Of the traces of one job, the report of the process that ran out of memory, or else of the one that reserved most;
// nothing where none can be read.
std::optional<report::Report> DecidingReport(const std::vector<std::filesystem::path>& traces);

}  // namespace oomtrace
