// A command that runs beside us, without a terminal, and is ended with all that it started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/environment.h"

namespace oomtrace {

// While one lives, this process inherits orphans of what it started, so that they can be found and ended; and the
// signals that ask it to stop (SIGINT, SIGTERM, SIGHUP) wait until somebody looks for them. One at a time.
class ProcessKeeper {
 public:
  ProcessKeeper();
  ~ProcessKeeper();
  ProcessKeeper(const ProcessKeeper&) = delete;
  ProcessKeeper& operator=(const ProcessKeeper&) = delete;

  // Sleeps so long, less where a child ends or such a signal comes. The signal, 0: none.
  int Sleep(std::chrono::nanoseconds time);

  // A child that EndOrphans leaves alone, with its own; 0: none.
  void Spare(pid_t child) { spared_ = child; }
  // Ends every child of ours, and what becomes one by that.
  void EndOrphans();

  // What the signals were before: for the children.
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t waited_;
  sigset_t before_;
  int was_subreaper_ = 0;
  pid_t spared_ = 0;
};

// What a process is started with: two open files, and the path of a new one.
struct ProcessStreams {
  int input = -1;
  int output = -1;
  std::filesystem::path errors;
};

// Starts it as the leader of a process group of its own; it dies with us. NotFound and PermissionDenied as Launch() has
// them.
absl::StatusOr<pid_t> StartProcess(const std::vector<std::string>& command, const Environment& environment,
                                   const ProcessStreams& streams, const ProcessKeeper& keeper);

struct TrialFiles {
  std::filesystem::path standard_output;
  std::filesystem::path errors;
};

// The same, with nothing to read.
absl::StatusOr<pid_t> StartTrial(const std::vector<std::string>& command, const Environment& environment,
                                 const TrialFiles& files, const ProcessKeeper& keeper);

// The status of waitpid() where the child has ended.
std::optional<int> EndedWith(pid_t child);

// "status 1", "signal 9 (Killed)".
std::string HowItEnded(int wait_status);

// The last lines of a file that are not blank, each behind two spaces; "" where there are none.
std::string LastLines(const std::filesystem::path& file);

}  // namespace oomtrace
