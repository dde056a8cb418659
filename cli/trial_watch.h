// How far a running job has come, from the traces that it is writing.
#pragma once

#include <filesystem>
#include <utility>

#include "cli/trial.h"

namespace oomtrace {

class TrialWatch {
 public:
  explicit TrialWatch(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Whether as many processes as the job has ranks have made the steps, and where asked for the evaluation.
  bool Reached(const TrialGoal& goal) const;

  // Whether an evaluation has ended after the first step, in any process.
  bool Evaluated() const;

 private:
  std::filesystem::path folder_;
};

}  // namespace oomtrace
