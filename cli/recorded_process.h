// The process of a trace, as a job that is to be run again: which trace, and which command.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "analyzer/job/job.h"

namespace oomtrace {

struct RecordedProcess {
  RankReport rank;
  std::string remark;  // why this one of several traces, as a sentence; "" for one alone
};

// Of a trace, or of a folder: its only trace, or of the ranks of one job the one that ran out of memory first. Errors
// as of AnalyzeRank; InvalidArgument: a folder without traces, or with those of several jobs.
absl::StatusOr<RecordedProcess> ReadProcess(const std::string& path);

// The recorded command line, if it can be run again from the recorded folder. FailedPrecondition says what is missing:
// the command line, the folder, the program, the script, or the launcher of the other ranks.
absl::StatusOr<std::vector<std::string>> RecordedCommand(const RankReport& process);

// `steps` of the report as optimizer steps: where none was made a report counts backward passes, and several of them
// make a step.
int64_t OptimizerSteps(const report::Report& report, int64_t steps);

// Cards that the job saw on its machine, as far as the trace tells: at least one.
int CardsOf(const RankReport& process);

}  // namespace oomtrace
