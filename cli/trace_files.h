// Finds traces on disk.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace oomtrace {

// All *.oomtrace files of a folder, newest first; none where the folder cannot be read.
std::vector<std::filesystem::path> TracesIn(const std::filesystem::path& folder);

// The *.oomtrace files of the working directory, else those of $OOMTRACE_DIR, newest first, at least one. NotFound says
// where was looked.
absl::StatusOr<std::vector<std::filesystem::path>> NewestTraces();

// The newest of them that is a trace; what is newer and is none, or of another version, is named on stderr and left
// out. Errors as of NewestTraces; InvalidArgument where none of them is a trace.
absl::StatusOr<std::string> NewestTrace();

// A folder of its own in the temporary one, removed with what is in it, unless it is to be kept.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  // Internal, with what to do: no folder can be made there.
  const absl::Status& status() const { return status_; }
  const std::filesystem::path& path() const { return path_; }
  void Keep() { keep_ = true; }

 private:
  absl::Status status_;
  std::filesystem::path path_;
  bool keep_ = false;
};

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
