// One run of a command on a simulated GPU, ended as soon as enough of it was seen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/recorded_run.h"
#include "cli/trial_process.h"
#include "cli/warm_interpreter.h"

namespace oomtrace {

struct Trial {
  bool fits = false;
  // In bytes; of several processes, those of the one that ran out of memory or else needed most.
  int64_t peak = 0;      // in tensors, at a death with the one that was refused
  int64_t reserved = 0;  // by PyTorch's allocator, at its highest
  int64_t left = 0;      // of the card beside that, the context, other processes and other allocations; 0: it died
  int64_t total = 0;     // of the card
  int64_t steps = 0;     // completed ones that the recorder saw
  std::string step_noun;
  std::string summary;  // the report's sentence
  std::string ended;    // "stopped after 3 optimizer steps", "ended by itself after 1 optimizer step"
  std::string remark;   // what the run does not prove, as one sentence; "": nothing
};

// How much of a run is enough.
struct TrialGoal {
  int64_t steps = 0;        // completed steps of an optimizer
  bool evaluation = false;  // and one evaluation that ended after the first of them
  int64_t limit_s = 0;      // seconds that it may take
};

// Runs the command, in a process of its own or, where `warm` is given, forked from that, until the goal is reached in
// every rank, it ends, or it runs out of memory; then ends it with all that it started. Traces and output go to
// `folder`, which is emptied first. Errors, none of which says anything about memory:
// - FailedPrecondition: it ended badly in another way, or touched no CUDA memory; with the last lines that it printed.
// - DeadlineExceeded: the limit came before the goal.
// - Cancelled: this process was asked to stop, by the signal in `interrupted`.
// - those of StartTrial and WarmInterpreter::Fork.
// `run` is equipped for TraceIn(folder).
absl::StatusOr<Trial> RunTrial(const std::vector<std::string>& command, const RecordedRun& run, const TrialGoal& goal,
                               const std::filesystem::path& folder, WarmInterpreter* warm, ProcessKeeper& keeper,
                               int& interrupted);

// Where the first process of a trial leaves its trace.
std::filesystem::path TraceIn(const std::filesystem::path& folder);

}  // namespace oomtrace
