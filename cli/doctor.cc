// oomtrace doctor: what is hooked, what is not, and why.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/hook_report.h"
#include "cli/installation.h"
#include "cli/machine_report.h"
#include "cli/recorded_run.h"
#include "cli/subcommands.h"
#include "cli/trace_files.h"
#include "cli/usage.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

constexpr char kFooter[] = R"(Examples:
  oomtrace doctor                        this machine: recorder, simulated GPU, driver, Python, PyTorch
  oomtrace doctor job.oomtrace           what the recorder saw in that job, and what it missed
  oomtrace doctor -- python train.py     runs the job once with the recorder and says the same of it

Exit status: 0 recording works (or worked), 1 it does not, or wrong arguments; 2 the trace is damaged beyond use;
127 and 126 as for `run`.)";

int PrintHooks(const std::string& trace) {
  const absl::StatusOr<HookReport> report = ReportHooks(trace);
  if (!report.ok()) {
    PrintError(std::string(report.status().message()), "");
    return ExitStatusOf(report.status());
  }
  std::fputs(report->text.c_str(), stdout);
  return report->recording ? kExitHealthy : kExitUsage;
}

int ExamineMachine() {
  const MachineReport report = ReportMachine("");
  std::fputs(report.text.c_str(), stdout);
  return report.can_record ? kExitHealthy : kExitUsage;
}

int ExamineCommand(Invocation& invocation) {
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) {
    PrintError(std::string(installation.status().message()), "");
    return kExitUsage;
  }
  const absl::StatusOr<std::string> recorder = RecorderLibrary(*installation);
  const ScratchFolder scratch;
  const absl::Status& problem = recorder.ok() ? scratch.status() : recorder.status();
  if (!problem.ok()) {
    PrintError(std::string(problem.message()), "");
    return kExitUsage;
  }
  RecordedRun run;
  run.libraries = {*recorder};
  run.environment.Set("OOMTRACE_DIR", scratch.path().string());
  run.announce = false;
  RunRecorded(std::move(run), invocation);
  if (invocation.exit_status == kExitNotFound || invocation.exit_status == kExitNotExecutable) {
    return invocation.exit_status;
  }
  std::printf("the command ended with status %d\n", invocation.exit_status);
  invocation.signal = 0;
  const std::vector<fs::path> traces = TracesIn(scratch.path());
  if (traces.empty()) {
    std::puts("it left no trace: the recorder saw none of its processes allocate CUDA memory");
    std::fputs(ReportMachine(invocation.command.front()).text.c_str(), stdout);
    const std::string switched_off = NotRecordedBecause(Environment::Inherited());
    std::printf("recording was not seen to work: %s\n",
                !switched_off.empty()         ? switched_off.c_str()
                : invocation.exit_status == 0 ? "examine a command that uses the GPU"
                                              : "the command failed before it used the GPU, see its own message above");
    return kExitUsage;
  }
  int status = kExitHealthy;
  for (const fs::path& trace : traces) status = std::max(status, PrintHooks(trace.string()));
  std::puts(status == kExitHealthy ? "recording worked" : "recording did not work in every process");
  return status;
}

}  // namespace

void AddDoctor(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("doctor", "Say what is hooked, what is not, and why");
  auto trace = std::make_shared<std::string>();
  SetUsage(*command, "oomtrace doctor [TRACE]\n       oomtrace doctor -- COMMAND…");
  command->add_option("TRACE", *trace, "A trace to examine (default: this machine)");
  command->footer(kFooter);
  command->callback([trace, &invocation] {
    if (invocation.has_separator && !trace->empty()) {
      PrintError("doctor: a trace and a command were given", "examine one after the other");
      invocation.exit_status = kExitUsage;
    } else if (invocation.has_separator) {
      invocation.exit_status = HasCommand("doctor", {}, invocation) ? ExamineCommand(invocation) : kExitUsage;
    } else {
      invocation.exit_status = trace->empty() ? ExamineMachine() : PrintHooks(*trace);
    }
  });
}

}  // namespace oomtrace
