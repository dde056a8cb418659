// What one call of `oomtrace` was asked and how it ends: shared by main and the subcommands.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace oomtrace {

// Exit statuses of oomtrace itself; `run` and `dryrun` pass the command's own status through instead.
inline constexpr int kExitHealthy = 0;
inline constexpr int kExitUsage = 1;            // wrong arguments, missing or foreign file
inline constexpr int kExitDamaged = 2;          // a trace that is damaged beyond use
inline constexpr int kExitOutOfMemory = 3;      // an out-of-memory was diagnosed
inline constexpr int kExitNotExecutable = 126;  // as shells say it
inline constexpr int kExitNotFound = 127;

struct Invocation {
  std::vector<std::string> arguments;  // before the first "--", program name excluded
  bool has_separator = false;          // whether there was a "--"
  std::vector<std::string> command;    // after it

  int exit_status = kExitHealthy;
  int signal = 0;  // the command died of this signal: oomtrace ends by the same one
};

// Of a trace that cannot be read: TraceReader::Open's errors.
int ExitStatusOf(const absl::Status& error);

// Splits argv at the first "--": what follows belongs to somebody else and is never parsed.
Invocation SplitAtSeparator(int argc, const char* const* argv);

// The words as a shell takes them, those in quotes that need them: python -c 'print(1)'.
std::string ShellQuoted(const std::vector<std::string>& words);

// What should have been typed where the "--" in front of the command's first word was forgotten.
std::string WithSeparator(const Invocation& invocation, const std::string& first);

// Prints "oomtrace: <what>" and "  <advice>" to stderr.
void PrintError(const std::string& what, const std::string& advice);

}  // namespace oomtrace
