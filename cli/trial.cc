#include "cli/trial.h"

#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "cli/deciding_report.h"
#include "cli/trace_files.h"
#include "cli/trial_watch.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

// Looking into the growing traces may take this share of the time at most: one part in four.
constexpr int kRestAfterLook = 3;
constexpr auto kShortestRest = std::chrono::milliseconds(20);

// The report's noun where optimizers step.
constexpr char kStep[] = "optimizer step";

enum class End { kItself, kGoal, kLimit, kInterrupted };

struct Ended {
  End how = End::kItself;
  int status = 0;  // of waitpid()
};

std::optional<int> StatusOf(pid_t child, WarmInterpreter* warm) {
  return warm == nullptr ? EndedWith(child) : warm->EndedWith();
}

// Ends the child, which has not ended by itself; the status of waitpid().
int EndChild(pid_t child, WarmInterpreter* warm, ProcessKeeper& keeper) {
  for (;;) {
    kill(-child, SIGKILL);
    if (const std::optional<int> status = StatusOf(child, warm)) return *status;
    keeper.Sleep(kShortestRest);
  }
}

Ended Watch(pid_t child, const TrialGoal& goal, const fs::path& folder, WarmInterpreter* warm, ProcessKeeper& keeper,
            int& interrupted) {
  const auto limit = steady_clock::now() + std::chrono::seconds(goal.limit_s);
  TrialWatch watch(folder);
  Ended ended;
  for (;;) {
    if (const std::optional<int> status = StatusOf(child, warm)) return {End::kItself, *status};
    const auto began = steady_clock::now();
    if (watch.Reached(goal)) ended.how = End::kGoal;
    if (ended.how == End::kItself && began >= limit) ended.how = End::kLimit;
    if (ended.how != End::kItself) break;
    const auto look = steady_clock::now() - began;
    interrupted = keeper.Sleep(std::max<steady_clock::duration>(kShortestRest, kRestAfterLook * look));
    if (interrupted == 0) continue;
    ended.how = End::kInterrupted;
    break;
  }
  ended.status = EndChild(child, warm, keeper);
  return ended;
}

std::string Printed(const TrialFiles& files) {
  const std::string errors = LastLines(files.errors);
  const std::string lines = errors.empty() ? LastLines(files.standard_output) : errors;
  return lines.empty() ? "; it printed nothing" : absl::StrCat("; the last that it printed:\n", lines);
}

std::string Steps(const report::Report& report) {
  const std::string& noun = report.step_noun();
  if (noun.empty()) return "";  // no PyTorch, no steps
  return report.steps_completed() == 0 ? absl::StrCat(" before the first ", noun)
                                       : absl::StrCat(" after ", Count(report.steps_completed(), noun));
}

// What a run that lived leaves open.
std::string Remark(const report::Report& report, const TrialGoal& goal, bool evaluated) {
  if (report.leak().bytes_per_step() > 0 && report.leak().steps_to_oom() >= 0) {
    return absl::StrCat("memory grows by ", Bytes(report.leak().bytes_per_step()), " a step: it fits for ",
                        Count(report.steps_completed() + report.leak().steps_to_oom(), "step"), " or so");
  }
  if (report.step_noun().empty()) return "";
  if (report.steps_completed() == 0 || report.step_noun() != kStep)
    return "no optimizer stepped in it: what training needs from its first step on was not seen";
  if (goal.evaluation && !evaluated) return "no evaluation was seen after the first optimizer step";
  if (report.steps_completed() == 1 && goal.steps > 1)
    return "it ended before a second step: what one needs beside optimizer states was not seen";
  return "";
}

Trial Judged(const report::Report& report, const Ended& ended, const TrialGoal& goal, bool evaluated) {
  Trial trial;
  const report::DeviceTable& device = report.device();
  const bool died = report.out_of_memory().happened();
  // A job that catches the error trains with less than it was given: that value does not fit.
  const int64_t caught = died ? 0 : report.out_of_memory().caught_before();
  trial.fits = !died && caught == 0;
  trial.peak = report.peak().bytes();
  trial.reserved = report.peak().reserved();
  trial.total = device.total();
  if (trial.fits) trial.left = std::max<int64_t>(0, device.tensors() + device.cache() + device.free() - trial.reserved);
  trial.steps = report.steps_completed();
  trial.step_noun = report.step_noun();
  trial.summary = caught == 0 ? report.summary()
                              : absl::StrCat("It was refused memory ", Count(caught, "time"),
                                             ", caught the error and went on without what it wanted.");
  trial.ended =
      ended.how == End::kGoal ? absl::StrCat("stopped", Steps(report)) : absl::StrCat("ended by itself", Steps(report));
  if (ended.how == End::kGoal && goal.evaluation) absl::StrAppend(&trial.ended, " and an evaluation");
  if (trial.fits) trial.remark = Remark(report, goal, evaluated);
  return trial;
}

}  // namespace

fs::path TraceIn(const fs::path& folder) { return folder / "trial.oomtrace"; }

absl::StatusOr<Trial> RunTrial(const std::vector<std::string>& command, const RecordedRun& run, const TrialGoal& goal,
                               const fs::path& folder, WarmInterpreter* warm, ProcessKeeper& keeper, int& interrupted) {
  const TrialFiles files = {folder / "stdout", folder / "stderr"};
  std::error_code ignored;
  for (const fs::directory_entry& old : fs::directory_iterator(folder, ignored)) fs::remove(old.path(), ignored);
  const absl::StatusOr<pid_t> child =
      warm == nullptr ? StartTrial(command, run.environment, files, keeper) : warm->Fork(command, files);
  if (!child.ok()) return child.status();
  const Ended ended = Watch(*child, goal, folder, warm, keeper, interrupted);
  kill(-*child, SIGKILL);
  keeper.EndOrphans();
  if (ended.how == End::kInterrupted) return absl::CancelledError("interrupted");

  const std::optional<RankReport> rank = DecidingReport(TracesIn(folder));
  const report::Report* report = rank ? &rank->report : nullptr;
  const bool died = report != nullptr && report->out_of_memory().happened();
  if (ended.how == End::kLimit && !died) {
    return absl::DeadlineExceededError(
        absl::StrCat("it was still running at the time limit of ", goal.limit_s, " s",
                     report != nullptr ? Steps(*report) : ", without having touched CUDA memory",
                     report != nullptr && report->step_noun() != kStep ? " and no optimizer step" : "",
                     ": not known whether it fits; ",
                     "--limit SECONDS gives it more, and one without an optimizer must end by itself"));
  }
  const bool well = ended.how == End::kGoal || (WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == 0);
  if (!died && !well) {
    return absl::FailedPreconditionError(
        absl::StrCat("it ended with ", HowItEnded(ended.status), ", not for want of device memory", Printed(files)));
  }
  if (report == nullptr) {
    const std::string off = NotRecordedBecause(run.environment);
    return absl::FailedPreconditionError(off.empty() ? absl::StrCat("it touched no CUDA memory", Printed(files))
                                                     : absl::StrCat("nothing was recorded: ", off));
  }
  return Judged(*report, ended, goal, TrialWatch(folder).Evaluated());
}

}  // namespace oomtrace
