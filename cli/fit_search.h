// The searches of `fit`: one for each card and each combination of the values that are listed.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/fit_report.h"
#include "cli/fit_results.h"
#include "cli/gpu_choice.h"

namespace oomtrace {

struct FitRequest {
  std::vector<std::string> gpus;  // names and sizes
  GpuRequest others;              // all but the card
  std::vector<Variation> lists;   // the variables that are not searched
  std::string results;            // file, "": none
  bool fork = true;               // from one warm interpreter, where that gives the same
};

// Runs them and fills report.rows; the rest of `report` says what is asked. Tells on stderr of each trial. An error
// ends it, and leaves the rows that are finished and the one that is not. `interrupted`: the signal that asked us to
// stop.
absl::Status SearchAll(const FitRequest& request, FitReport& report, int& interrupted);

}  // namespace oomtrace
