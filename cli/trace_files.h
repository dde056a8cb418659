// Finds traces on disk.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oomtrace {

// All *.oomtrace files of a folder, newest first; none where the folder cannot be read.
std::vector<std::filesystem::path> TracesIn(const std::filesystem::path& folder);

// The *.oomtrace files of the working directory, else those of $OOMTRACE_DIR, newest first, at least one. NotFound says
// where was looked.
absl::StatusOr<std::vector<std::filesystem::path>> NewestTraces();

// Tells which traces a command leaves: those in the folder where the recorder writes that were not there before.
class TraceWatch {
 public:
  // `output`: as given by -o (then traces of child processes stand beside it), or empty: `folder` is watched.
  TraceWatch(const std::filesystem::path& output, const std::filesystem::path& folder);

  // The new ones, newest first, the one at `output` in front.
  std::vector<std::filesystem::path> NewTraces() const;

 private:
  std::filesystem::path output_;
  std::filesystem::path folder_;
  std::set<std::filesystem::path> before_;
};

}  // namespace oomtrace
