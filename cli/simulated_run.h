// What `dryrun`, `verify` and whoever else runs a command on the simulated GPU share: the libraries and variables.
#pragma once

#include "absl/status/statusor.h"
#include "cli/gpu_choice.h"
#include "cli/recorded_run.h"

namespace oomtrace {

// A run on the cards that `gpu` asks for, recorded or only simulated. Errors: an unknown card, a bad size, a part of
// the installation that is missing.
absl::StatusOr<RecordedRun> SimulatedRun(const GpuRequest& gpu, bool record);

}  // namespace oomtrace
