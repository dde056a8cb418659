// The variables that a recorded job had, brought back for a run of the same job.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/environment.h"
#include "report.pb.h"

namespace oomtrace {

// What the trace has of the job's environment: "NAME=value" taken apart.
std::vector<std::pair<std::string, std::string>> RecordedVariables(const report::Trace& trace);

// What was done to bring the job's environment back.
struct Restored {
  std::vector<std::string> set;    // "NAME=value", as recorded, where this process has another value or none
  std::vector<std::string> unset;  // names that this process has and the job had not
};

// Gives `environment` those of the recorded variables that change what a program allocates, and takes away those that
// the job had not. Others stay: those of the recorder, of the launcher (RANK and the like) and the choice of devices
// belong to one run. CUDA_VISIBLE_DEVICES goes: the simulated cards are numbered anew.
Restored RestoreRecorded(const report::Trace& trace, Environment& environment);

}  // namespace oomtrace
