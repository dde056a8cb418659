// The file in which `fit` keeps its finished trials: the same command goes on where it was interrupted.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/trial.h"

namespace oomtrace {

// What trials depend on beside their key: names as a person reads them, and values.
using Question = std::vector<std::pair<std::string, std::string>>;

class FitResults {
 public:
  // InvalidArgument: the file holds something else, or the trials of another question (the message says what differs).
  // "": nothing is kept.
  static absl::StatusOr<FitResults> Open(const std::filesystem::path& path, const Question& question);

  // Null where it was not tried.
  const Trial* Find(const std::string& key) const;
  // Written whole, under another name first: an interruption leaves the old file or the new one.
  absl::Status Add(const std::string& key, const Trial& trial);

  const std::filesystem::path& path() const { return path_; }
  size_t trials() const { return trials_.size(); }

 private:
  std::filesystem::path path_;
  Question question_;
  std::map<std::string, Trial> trials_;
};

}  // namespace oomtrace
