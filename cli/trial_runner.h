// Runs trials one after the other, from a warm interpreter where that is possible and gives the same.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/gpu_choice.h"
#include "cli/trial.h"
#include "cli/trial_process.h"
#include "cli/warm_interpreter.h"

namespace oomtrace {

// The first trial runs in a process of its own, and once more forked from a warm interpreter. Only where both give the
// same figures are the others forked; where not, and where it cannot be done, stderr says why. Each card has an
// interpreter of its own: what a module learns of the device while it is imported must hold.
class TrialRunner {
 public:
  // `folder`: an empty one. `interrupted`: see RunTrial.
  TrialRunner(const TrialGoal& goal, std::filesystem::path folder, bool fork, int& interrupted);
  ~TrialRunner();
  TrialRunner(const TrialRunner&) = delete;
  TrialRunner& operator=(const TrialRunner&) = delete;

  // Errors of SimulatedRun and RunTrial.
  absl::StatusOr<Trial> Run(const std::vector<std::string>& command, const GpuRequest& gpu);

 private:
  absl::StatusOr<Trial> RunIn(const std::vector<std::string>& command, const RecordedRun& run, WarmInterpreter* warm);
  // The one of this card, started where there is none; null where it cannot be.
  absl::StatusOr<WarmInterpreter*> Warm(const std::vector<std::string>& command, const RecordedRun& run,
                                        const std::string& gpu);
  // Runs the first trial again, and decides.
  absl::Status Compare(const std::vector<std::string>& command, const RecordedRun& run, const std::string& gpu,
                       const Trial& alone);
  void StopForking(const std::string& why);

  TrialGoal goal_;
  std::filesystem::path folder_;
  bool fork_;
  bool compared_ = false;
  int& interrupted_;
  ProcessKeeper keeper_;
  std::string warm_gpu_;
  std::unique_ptr<WarmInterpreter> warm_;
};

}  // namespace oomtrace
