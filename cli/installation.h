// Where the parts of oomtrace lie: beside its own executable, <prefix>/bin and <prefix>/lib.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oomtrace {

struct Installation {
  std::filesystem::path recorder;       // <prefix>/lib/liboomtrace.so
  std::filesystem::path simulated_gpu;  // <prefix>/lib/simgpu
};

// From /proc/self/exe. Says nothing about whether the files exist.
absl::StatusOr<Installation> FindInstallation();

// The recorder, proven readable. A path that LD_PRELOAD cannot carry (a space or a colon in it) is an error too.
absl::StatusOr<std::string> RecorderLibrary(const Installation& installation);

// The libraries that make up the simulated GPU, in preload order, as simgpu/preload.txt lists them.
absl::StatusOr<std::vector<std::string>> SimulatedGpuLibraries(const Installation& installation);

}  // namespace oomtrace
