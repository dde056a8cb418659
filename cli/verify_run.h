// One fix of a report, really run on a simulated card like the recorded one, and what that tells.
#pragma once

#include <filesystem>
#include <string>

#include "analyzer/job/job.h"
#include "cli/fix_trials.h"
#include "cli/recorded_run.h"
#include "report.pb.h"

namespace oomtrace {

enum class TrialResult {
  kFits,
  kDies,
  kUnknown,  // it ended for another reason, or what it shows is not the fix; Verification.why
};

struct VerifyLimits {
  int seconds = 600;             // of one run
  std::filesystem::path folder;  // of traces and logs
};

// Runs `trial` by `run` (a simulated card, the job's variables), as the `number`th of its folder, and books into its
// fix: the verification, and where the run settles it, whether it fits. `recorded`: the process whose fix it is.
TrialResult RunTrial(const RankReport& recorded, FixTrial& trial, RecordedRun run, const VerifyLimits& limits,
                     size_t number);

}  // namespace oomtrace
