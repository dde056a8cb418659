// Runs a command as if it had been typed: same terminal, same signals, same exit status.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/environment.h"

namespace oomtrace {

struct Outcome {
  pid_t pid = 0;
  int exit_status = 0;
  int signal = 0;  // not 0: the command died of it, and exit_status is 128 + signal
};

// Runs the command and waits for it. Signals that somebody sends to this process alone (kill, a job scheduler) are
// passed on; those that a terminal sends to the whole foreground group reach the command without help.
// NotFound: there is no such command. PermissionDenied: it is there and cannot be executed.
absl::StatusOr<Outcome> Launch(const std::vector<std::string>& command, const Environment& environment);

// Runs the command with stderr silenced and gives what it printed. An error where it cannot be run or its status is
// not 0.
absl::StatusOr<std::string> Capture(const std::vector<std::string>& command, const Environment& environment);

// The file that the command's first word names, searched in the environment's PATH as execvp does; "" where none is.
std::string ResolveCommand(const std::string& name, const Environment& environment);

// Ends this process by the signal, so that a parent sees what it would have seen without oomtrace.
[[noreturn]] void DieOf(int signal);

}  // namespace oomtrace
