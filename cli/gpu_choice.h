// The card and the sizes that `dryrun` was asked for, checked.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "cli/environment.h"
#include "simgpu/devices.h"

namespace oomtrace {

struct GpuRequest {
  std::string gpu;      // name or size
  std::string other;    // size used by other processes, "" for none
  std::string context;  // size of the CUDA context, "" for the card's own
  int gpus = 1;
};

// A card by its name, or one of a size. InvalidArgument as below.
absl::StatusOr<simgpu::GpuModel> CardNamed(const std::string& name);

// Sets the OOMTRACE_SIM_* variables that the simulated GPU reads. InvalidArgument: an unknown card (the message lists
// the known ones, the most similar first) or a bad size.
absl::Status ChooseGpu(const GpuRequest& request, Environment& environment);

// The known name that is most similar to the one given: fewest insertions, deletions, replacements and swaps.
std::string NearestGpu(const std::string& name);

}  // namespace oomtrace
