// An interpreter that has imported what a script imports, and is forked for each run of it (warm_interpreter.py).
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/environment.h"
#include "cli/trial_process.h"

namespace oomtrace {

class WarmInterpreter {
 public:
  // Starts one for the command, in the environment of its trials, and waits until it has imported. Its own complaints
  // go to `errors`. FailedPrecondition: this command must not be run so, and why; Cancelled: asked to stop meanwhile,
  // by the signal in `interrupted`.
  static absl::StatusOr<std::unique_ptr<WarmInterpreter>> Start(const std::vector<std::string>& command,
                                                                const Environment& environment,
                                                                const std::filesystem::path& errors,
                                                                ProcessKeeper& keeper, int& interrupted);
  ~WarmInterpreter();
  WarmInterpreter(const WarmInterpreter&) = delete;
  WarmInterpreter& operator=(const WarmInterpreter&) = delete;

  // Whether the command is that of Start() but for its arguments.
  bool Serves(const std::vector<std::string>& command) const;

  // Begins a run of it, as StartTrial does. One at a time. Unavailable: the interpreter is gone.
  absl::StatusOr<pid_t> Fork(const std::vector<std::string>& command, const TrialFiles& files);
  // The status of waitpid() where the run has ended, also by the end of the interpreter.
  std::optional<int> EndedWith();

 private:
  WarmInterpreter(ProcessKeeper& keeper, std::vector<std::string> head) : keeper_(keeper), head_(std::move(head)) {}

  bool Send(const std::string& line) const;
  // A whole line; "" where none has come yet. `gone_` where none will come.
  std::string Receive();

  ProcessKeeper& keeper_;
  std::vector<std::string> head_;  // interpreter, options, script or module
  pid_t process_ = 0;
  int requests_ = -1;
  int answers_ = -1;
  bool gone_ = false;
  std::string received_;
};

}  // namespace oomtrace
