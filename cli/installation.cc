#include "cli/installation.h"

#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

absl::Status CheckPreloadable(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), " does not exist; build it with `make build`"));
  }
  if (path.string().find_first_of(" :") != std::string::npos) {
    return absl::FailedPreconditionError(absl::StrCat("LD_PRELOAD cannot carry a path with a space or a colon: ",
                                                      path.string(), "; move oomtrace to a folder without them"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Installation> FindInstallation() {
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (error) return absl::UnavailableError(absl::StrCat("/proc/self/exe cannot be read: ", error.message()));
  const fs::path lib = executable.parent_path().parent_path() / "lib";
  return Installation{lib / "liboomtrace.so", lib / "simgpu"};
}

absl::StatusOr<std::string> RecorderLibrary(const Installation& installation) {
  if (absl::Status status = CheckPreloadable(installation.recorder); !status.ok()) return status;
  return installation.recorder.string();
}

absl::StatusOr<std::vector<std::string>> SimulatedGpuLibraries(const Installation& installation) {
  const fs::path list = installation.simulated_gpu / "preload.txt";
  std::ifstream file(list);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("the simulated GPU is not built: ", list.string(), " is missing; run `make build`"));
  }
  std::vector<std::string> libraries;
  for (std::string line; std::getline(file, line);) {
    const std::string name(absl::StripAsciiWhitespace(line));
    if (name.empty()) continue;
    const fs::path path = installation.simulated_gpu / name;
    if (absl::Status status = CheckPreloadable(path); !status.ok()) return status;
    libraries.push_back(path.string());
  }
  if (libraries.empty()) return absl::DataLossError(absl::StrCat(list.string(), " is empty; run `make build`"));
  return libraries;
}

}  // namespace oomtrace
