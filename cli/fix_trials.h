// What has to be typed to carry out the fixes of a report that need no edit: their settings put into a command.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/vary.h"
#include "report.pb.h"

namespace oomtrace {

using Variables = std::vector<std::pair<std::string, std::string>>;

// A fix of the report, and the command and variables that carry it out.
struct FixTrial {
  report::Fix* fix = nullptr;
  std::vector<std::string> command;
  Variables environment;              // of the fix alone
  std::vector<std::string> left_out;  // what else the fix sets, and the command has no place for: "accumulation"
};

struct FixTrials {
  std::vector<FixTrial> trials;  // best first
  // Fixes that are settings, but not of this command; their verification says in `why` what is missing there.
  std::vector<const report::Fix*> skipped;
};

// The first `most` fixes that are settings of the environment, flags of `command`, or places in it: {batch_size},
// {accumulation}, {eval_batch_size}. `values` fills places where a fix leaves them alone. InvalidArgument: a place
// without a value, or a value without a place.
absl::StatusOr<FixTrials> PlanTrials(report::Report& report, const std::vector<std::string>& command,
                                     const Values& values, int most);

}  // namespace oomtrace
