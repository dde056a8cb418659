// oomtrace run: a command with the recorder inside.
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/installation.h"
#include "cli/recorded_run.h"
#include "cli/subcommands.h"
#include "cli/usage.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace run -- python train.py --batch_size=16
  oomtrace run -o job.oomtrace -- torchrun --nproc-per-node=2 train.py

The command runs as always: same terminal, same signals, same exit status (a death by signal is passed on as one).
Each process that touches CUDA memory leaves one trace, in $OOMTRACE_DIR or the working directory; with -o the first
one goes there and those of other processes beside it: job.PID.oomtrace beside job.oomtrace.

Exit status: the command's own; 127 where there is no such command, 126 where it cannot be executed, 1 for wrong
arguments.

The same without this program: LD_PRELOAD=/path/to/lib/liboomtrace.so python train.py)";

void Run(const std::string& output, const std::string& timeline, const std::vector<std::string>& extras,
         Invocation& invocation) {
  if (!HasCommand("run", extras, invocation)) return;
  const absl::StatusOr<Installation> installation = FindInstallation();
  const absl::StatusOr<std::string> recorder =
      installation.ok() ? RecorderLibrary(*installation) : absl::StatusOr<std::string>(installation.status());
  if (!recorder.ok()) {
    PrintError(std::string(recorder.status().message()), "");
    return;
  }
  RecordedRun run;
  run.libraries = {*recorder};
  run.output = output;
  run.timeline = timeline;
  RunRecorded(std::move(run), invocation);
}

}  // namespace

void AddRun(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("run", "Run a command and record its CUDA memory");
  auto output = std::make_shared<std::string>();
  auto timeline = std::make_shared<std::string>();
  SetUsage(*command, "oomtrace run [-o TRACE] [--timeline[=STEPS]] -- COMMAND…");
  AddOutputOption(*command, *output);
  AddTimelineOption(*command, *timeline);
  command->allow_extras();
  command->footer(kFooter);
  command->callback(
      [command, output, timeline, &invocation] { Run(*output, *timeline, command->remaining(), invocation); });
}

}  // namespace oomtrace
