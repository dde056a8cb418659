#include "cli/verify_run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "cli/deciding_report.h"
#include "cli/invocation.h"
#include "cli/python_probe.h"
#include "cli/recorded_process.h"
#include "cli/trace_files.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

constexpr int kTimedOut = 124;  // as coreutils' timeout says it
// Parameters of the same model differ by less: what the allocator rounds up.
constexpr double kSame = 0.01;

// Sends stdout and stderr of this process, and of what it starts, to a file for as long as it lives.
class OutputTo {
 public:
  explicit OutputTo(const fs::path& file) : stdout_(dup(STDOUT_FILENO)), stderr_(dup(STDERR_FILENO)) {
    std::fflush(stdout);
    const int to = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) return;
    dup2(to, STDOUT_FILENO);
    dup2(to, STDERR_FILENO);
    close(to);
  }
  ~OutputTo() {
    std::fflush(stdout);
    dup2(stdout_, STDOUT_FILENO);
    dup2(stderr_, STDERR_FILENO);
    close(stdout_);
    close(stderr_);
  }
  OutputTo(const OutputTo&) = delete;
  OutputTo& operator=(const OutputTo&) = delete;

 private:
  int stdout_;
  int stderr_;
};

// The traces of a run: those of the folder that begin with its number.
std::vector<fs::path> TracesOf(const fs::path& folder, size_t number) {
  std::vector<fs::path> traces = TracesIn(folder);
  std::erase_if(traces, [&](const fs::path& trace) {
    return !absl::StartsWith(trace.filename().string(), absl::StrCat(number, "."));
  });
  return traces;
}

// The last line of a log that is not the recorder's own, "" where it is empty.
std::string LastLine(const fs::path& log) {
  std::ifstream stream(log);
  std::string line, last;
  while (std::getline(stream, line)) {
    if (!line.empty() && !absl::StartsWith(line, "oomtrace: ")) last = line;
  }
  return last;
}

// Why a run that ended badly says nothing of memory.
std::string OtherFailure(const FixTrial& trial, const Environment& environment, const std::string& ended, bool traced,
                         const fs::path& log) {
  std::string why = absl::StrCat("the run ended with ", ended, traced ? ", not of memory" : " and used no CUDA memory");
  if (const std::string line = LastLine(log); !line.empty()) absl::StrAppend(&why, ": ", line);
  const std::string interpreter = InterpreterOf(trial.command.front(), environment);
  if (!interpreter.empty() && !traced) {
    const auto found = ProbePython(interpreter, environment);
    const std::string problem = found ? TorchProblem(*found) : "";
    if (!problem.empty()) absl::StrAppend(&why, "; ", problem);
  }
  return absl::StrCat(why, "; all that it printed is in ", log.string());
}

// Whether the run came to where the recorded job died. "" or why not.
std::string NotThere(const report::Report& recorded, const report::Report& run, bool timed_out) {
  // A job that never steps is compared by its backward passes, if it came to its end.
  const bool passes = !timed_out && run.step_noun() == recorded.step_noun();
  const int64_t at = recorded.out_of_memory().step(), all = run.steps_completed();
  const int64_t died_in = passes ? at : OptimizerSteps(recorded, at);
  const int64_t made = passes ? all : OptimizerSteps(run, all);
  if (timed_out ? made > died_in : made >= died_in) return "";
  return absl::StrCat(timed_out ? "it was stopped at the time limit" : "it ended", " after ",
                      Count(made, passes ? run.step_noun() : "optimizer step"), ", and the job died after ", died_in,
                      timed_out ? "; --limit gives it longer" : "; give a command that runs as far");
}

// The most that parameters take at any of the peaks.
int64_t MostParameters(const report::Report& run) {
  int64_t most = run.categories().parameter();
  for (const report::HighPeak& peak : run.peaks()) most = std::max(most, peak.categories().parameter());
  return most;
}

// Whether the run was of the recorded job: as many ranks, and no setting of a fix changes the parameters. "" or why
// not.
std::string AnotherJob(const RankReport& job, const RankReport& trial) {
  if (job.world_size > 1 && trial.world_size < job.world_size) {
    return absl::StrCat("the recorded job had ", job.world_size,
                        " ranks, and this run had fewer; give the command of its launcher, such as torchrun");
  }
  const report::Report &recorded = job.report, &run = trial.report;
  if (recorded.out_of_memory().phase() == "set_up") return "";
  const int64_t then = recorded.categories().parameter(), now = MostParameters(run);
  const auto tolerance = static_cast<int64_t>(kSame * static_cast<double>(then));
  // What the one report could not tell may be parameters of the other. A run that came further may have made another
  // model meanwhile: more parameters are a sign only where it died, too.
  const bool fewer = now + run.categories().unknown() < then - tolerance;
  const bool more = run.out_of_memory().happened() && now > then + recorded.categories().unknown() + tolerance;
  if (then == 0 || (!fewer && !more)) return "";
  return absl::StrCat("its parameters take ", Bytes(now), ", those of the recorded job took ", Bytes(then),
                      ": another job, it seems. Variables and files that the trace does not have are today's");
}

// Why a run that lived does not show that the fix fits: where the micro-batch is smaller and nothing is accumulated,
// the gradients may be missing that accumulation keeps through the next forward pass.
std::string WithoutAccumulation(const FixTrial& trial, const report::Report& recorded, const report::Report& run) {
  if (trial.left_out.empty()) return "";
  const report::DeviceTable& device = recorded.device();
  const int64_t most = run.peak().reserved() + run.categories().parameter();
  if (most <= device.total() - device.context() - device.other_processes()) return "";
  return absl::StrCat("it ran without ", absl::StrJoin(trial.left_out, ", "),
                      ", for which the command has no place; with it, gradients of up to ",
                      Bytes(run.categories().parameter()),
                      " stay through the next forward pass, and there may be no room for them");
}

TrialResult Book(const RankReport& job, FixTrial& trial, const RankReport& rank, bool timed_out) {
  const report::Report &recorded = job.report, &run = rank.report;
  report::Verification& verification = *trial.fix->mutable_verification();
  verification.set_run(true);
  verification.set_peak(run.peak().reserved());
  verification.set_died(run.out_of_memory().happened());
  verification.set_steps(run.steps_completed());
  if (verification.died()) verification.set_where(run.summary());
  std::string why = AnotherJob(job, rank);
  if (why.empty() && !verification.died()) why = NotThere(recorded, run, timed_out);
  if (why.empty() && !verification.died()) why = WithoutAccumulation(trial, recorded, run);
  verification.set_why(why);
  if (!why.empty()) return TrialResult::kUnknown;
  trial.fix->set_basis("simulated");
  trial.fix->set_fits(!verification.died());
  if (!trial.left_out.empty()) trial.fix->set_keeps_effective_batch(false);
  trial.fix->clear_condition();
  return verification.died() ? TrialResult::kDies : TrialResult::kFits;
}

}  // namespace

TrialResult RunTrial(const RankReport& recorded, FixTrial& trial, RecordedRun run, const VerifyLimits& limits,
                     size_t number) {
  const fs::path log = limits.folder / absl::StrCat(number, ".log");
  run.output = (limits.folder / absl::StrCat(number, ".oomtrace")).string();
  run.announce = false;
  for (const auto& [name, value] : trial.environment) run.environment.Set(name, value);
  const Environment environment = run.environment;
  Invocation inner;
  inner.command = {"timeout", "--kill-after=5", absl::StrCat(limits.seconds)};
  inner.command.insert(inner.command.end(), trial.command.begin(), trial.command.end());
  {
    const OutputTo file(log);
    RunRecorded(std::move(run), inner);
  }
  const bool timed_out = inner.exit_status == kTimedOut;
  report::Verification& verification = *trial.fix->mutable_verification();
  for (const std::string& word : trial.command) verification.add_command(word);
  for (const auto& [name, value] : trial.environment) verification.add_environment(absl::StrCat(name, "=", value));
  for (const std::string& name : trial.left_out) verification.add_left_out(name);
  verification.set_ended(timed_out ? "stopped at the time limit" : absl::StrCat("exit ", inner.exit_status));
  const std::optional<RankReport> worst = DecidingReport(TracesOf(limits.folder, number));
  const bool died = worst && worst->report.out_of_memory().happened();
  if (timed_out && !worst) {
    verification.set_why("it was stopped at the time limit before it used CUDA memory; --limit gives it longer");
  } else if (!worst || (inner.exit_status != 0 && !timed_out && !died)) {
    verification.set_why(OtherFailure(trial, environment, verification.ended(), worst.has_value(), log));
  } else {
    return Book(recorded, trial, *worst, timed_out);
  }
  return TrialResult::kUnknown;
}

}  // namespace oomtrace
