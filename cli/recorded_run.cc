#include "cli/recorded_run.h"

#include <unistd.h>

#include <cstdio>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/launch.h"
#include "cli/machine_report.h"
#include "cli/output_place.h"
#include "cli/python_probe.h"
#include "cli/trace_end.h"
#include "cli/trace_files.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

void ReportLaunchFailure(const absl::Status& status, Invocation& invocation) {
  if (absl::IsNotFound(status)) {
    PrintError(std::string(status.message()), "check the spelling, and that it is in PATH");
    invocation.exit_status = kExitNotFound;
  } else if (absl::IsPermissionDenied(status)) {
    PrintError(std::string(status.message()),
               "is it a program? `chmod +x` makes a script one; or start it by its interpreter");
    invocation.exit_status = kExitNotExecutable;
  } else {
    PrintError(std::string(status.message()), "");
    invocation.exit_status = kExitUsage;
  }
}

// Unlike that of any other job on any machine that writes to the same folder, as far as matters.
std::string NewJob() { return absl::StrCat(getpid(), "-", absl::ToUnixMicros(absl::Now())); }

// Another job may write to the same folder at the same time.
std::vector<fs::path> OfJob(const std::string& job, std::vector<fs::path> traces) {
  std::erase_if(traces, [&](const fs::path& trace) { return !MayBelongTo(trace, job); });
  return traces;
}

std::string Ending(const Outcome& outcome) {
  return outcome.signal != 0 ? absl::StrCat("was killed by signal ", outcome.signal)
                             : absl::StrCat("ended with status ", outcome.exit_status);
}

// At the end of a job that ran out of memory the recorder itself says where the trace is; a job that was killed
// cannot.
void PointAtTrace(const Outcome& outcome, const std::vector<fs::path>& traces) {
  if (outcome.exit_status == 0) return;
  for (const fs::path& trace : traces) {
    if (RecorderAnnounced(trace)) return;
  }
  const std::string path = ShellQuoted({traces.front().string()});
  std::fprintf(stderr, "oomtrace: the job %s; its trace is %s; run: oomtrace analyze %s\n", Ending(outcome).c_str(),
               path.c_str(), path.c_str());
}

// "OOMTRACE=off", where a variable switches something off: docs/cli.md lists the words.
std::string OffBy(const Environment& environment, const std::string& name) {
  const std::string value = environment.Get(name);
  const std::string word = absl::AsciiStrToLower(value);
  const bool off = word == "0" || word == "off" || word == "no" || word == "false";
  return off ? absl::StrCat(name, "=", value) : "";
}

// A job that left no trace touched no CUDA memory. Where it failed, the reason may be the interpreter's PyTorch or a
// machine without a GPU.
void ExplainMissingTrace(const RecordedRun& run, const std::string& command, bool failed) {
  if (const std::string why = NotRecordedBecause(run.environment); !why.empty()) {
    std::fprintf(stderr, "oomtrace: nothing was recorded: %s\n", why.c_str());
    return;
  }
  // Where the trace should have gone decides first: of a job whose trace could not be made nothing is known.
  const std::string folder = run.environment.Get("OOMTRACE_DIR"), file = run.environment.Get("OOMTRACE_FILE");
  if (file.empty() && !folder.empty() && access(folder.c_str(), W_OK | X_OK) != 0) {
    std::fprintf(stderr, "oomtrace: nothing was recorded: OOMTRACE_DIR=%s is no folder that can be written to\n",
                 folder.c_str());
    return;
  }
  if (!file.empty() && run.output.empty()) {
    std::fprintf(stderr, "oomtrace: no new trace was found; OOMTRACE_FILE=%s says where it goes\n", file.c_str());
    return;
  }
  const std::string interpreter = InterpreterOf(command, run.environment);
  if (interpreter.empty()) return;
  if (!failed) {
    if (run.simulated)
      std::fputs(
          "oomtrace: nothing was recorded: the job used no CUDA memory (or the recorder could not write, and said "
          "so)\n",
          stderr);
    return;
  }
  const std::optional<PythonTorch> found = ProbePython(interpreter, run.environment);
  if (!found) return;
  const std::string problem = TorchProblem(*found);
  if (!problem.empty()) {
    std::fprintf(stderr, "oomtrace: nothing was recorded: %s\n", problem.c_str());
  } else if (!run.simulated && !HasDriver()) {
    std::fputs(
        "oomtrace: nothing was recorded, and there is no NVIDIA driver here; `oomtrace dryrun --gpu NAME -- ...` needs "
        "none\n",
        stderr);
  }
}

}  // namespace

std::string NotRecordedBecause(const Environment& environment) {
  if (const std::string off = OffBy(environment, "OOMTRACE"); !off.empty())
    return absl::StrCat(off, " switches the recorder off");
  if (const std::string off = OffBy(environment, "OOMTRACE_DLSYM"); !off.empty()) {
    return absl::StrCat(
        "either the job used no CUDA memory, or it found CUDA through dlsym, as statically linked "
        "runtimes, ctypes, CuPy and JAX do: ",
        off, " switches that hook off; unset it to see them");
  }
  return "";
}

bool HasCommand(const std::string& subcommand, const std::vector<std::string>& extras, Invocation& invocation) {
  invocation.exit_status = kExitUsage;
  if (!extras.empty()) {
    if (extras.front().starts_with("-")) {
      PrintError(absl::StrCat(subcommand, ": unknown option ", extras.front()),
                 absl::StrCat("`oomtrace ", subcommand, " --help` lists the options; the command's own go after `--`"));
    } else {
      PrintError(absl::StrCat(subcommand, ": unexpected '", extras.front(), "'"),
                 absl::StrCat("the command goes after `--`: ", WithSeparator(invocation, extras.front())));
    }
    return false;
  }
  if (invocation.command.empty()) {
    PrintError(absl::StrCat(subcommand, ": no command was given"),
               absl::StrCat("the command goes after `--`: oomtrace ", subcommand, " -- python train.py"));
    return false;
  }
  return true;
}

std::string Equip(RecordedRun& run, const fs::path& output) {
  const std::string job = NewJob();
  if (run.record && !output.empty()) run.environment.Set("OOMTRACE_FILE", output.string());
  if (run.record && !run.timeline.empty()) run.environment.Set("OOMTRACE_TIMELINE", run.timeline);
  // Ranges that the program marks by NVTX come to the recorder, unless another tool wants them.
  if (run.record && !run.libraries.empty() && run.environment.Get("NVTX_INJECTION64_PATH").empty())
    run.environment.Set("NVTX_INJECTION64_PATH", run.libraries.front());
  if (run.record) run.environment.Set(kJobVariable, job);
  run.environment.Preload(run.libraries);
  return job;
}

void RunRecorded(RecordedRun run, Invocation& invocation) {
  fs::path output;
  if (run.record && !run.output.empty()) {
    output = fs::absolute(run.output).lexically_normal();
    const absl::StatusOr<std::string> remark = PrepareOutput(output);
    if (!remark.ok()) {
      PrintError(std::string(remark.status().message()), "");
      invocation.exit_status = kExitUsage;
      return;
    }
    if (!remark->empty()) std::fprintf(stderr, "oomtrace: %s\n", remark->c_str());
  }
  const std::string job = Equip(run, output);
  const std::string folder = run.environment.Get("OOMTRACE_DIR");
  const TraceWatch watch(output, folder.empty() ? fs::path(".") : fs::path(folder));

  const absl::StatusOr<Outcome> outcome = Launch(invocation.command, run.environment);
  if (!outcome.ok()) {
    ReportLaunchFailure(outcome.status(), invocation);
    return;
  }
  invocation.exit_status = outcome->exit_status;
  invocation.signal = outcome->signal;
  if (!run.record || !run.announce) return;
  const std::vector<fs::path> traces = OfJob(job, watch.NewTraces());
  if (traces.empty()) {
    ExplainMissingTrace(run, invocation.command.front(), outcome->exit_status != 0);
  } else {
    PointAtTrace(*outcome, traces);
  }
}

}  // namespace oomtrace
