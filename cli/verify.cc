// oomtrace verify: the fixes of a report that need no edit, really run on a simulated card like the recorded one.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/json.h"
#include "cli/fix_trials.h"
#include "cli/recorded_environment.h"
#include "cli/recorded_process.h"
#include "cli/simulated_run.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "cli/usage.h"
#include "cli/vary.h"
#include "cli/verify_run.h"
#include "report.pb.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace verify job.oomtrace
  oomtrace verify job.oomtrace -- python train.py --batch_size=64
  oomtrace verify job.oomtrace --vary batch_size=64 --vary accumulation=1 -- \
      python train.py --bs {batch_size} --acc {accumulation}
  oomtrace verify traces/ -- torchrun --nproc-per-node=2 train.py --bs {batch_size}

Reads the trace of a job that ran out of memory, and runs the fixes of its report that need no edit: settings of the
environment, flags of the recorded command line, and, where the command has them, {batch_size}, {accumulation} and
{eval_batch_size}. Each runs on a simulated card of the same capacity, with the same other processes and CUDA context,
from the recorded command and folder, or from the command after `--`. Of a folder with the ranks of one job, the fixes
are those of the rank that ran out of memory first. --vary says what such a place stood for when the job died. The
variables that the trace has are the job's, all others are this shell's. The job's own output goes to a file that is
named where a run fails for another reason.

Exit status: 0 one of them fits (or the job did not run out of memory), 3 none fits, 1 wrong arguments, no fix that can
be run, or a run that does not tell, 2 the trace is damaged beyond use.)";

struct Options {
  std::string trace;
  std::vector<std::string> vary;
  int fixes = 3;
  int seconds = 600;
  OutputOptions output;
};

int Fail(const std::string& what, const std::string& advice) {
  PrintError("verify: " + what, advice);
  return kExitUsage;
}

// Nothing is run: says why, in JSON too.
int Refuse(report::Report& report, const Options& options, const absl::Status& why, const std::string& advice) {
  report.set_not_verified(std::string(why.message()));
  if (options.output.format == "json") std::printf("%s\n", RenderJson(report).c_str());
  return Fail(std::string(why.message()), advice);
}

// What to do where no fix can be run with this command.
std::string Advice(const report::Report& report, const FixTrials& all) {
  if (!all.skipped.empty()) {
    const report::Fix& fix = *all.skipped.front();
    return absl::StrCat(fix.title(), ": ", fix.verification().why(),
                        "; give the command with a place for it: oomtrace verify TRACE -- python train.py --bs {",
                        fix.id() == "evaluation_batch" ? "eval_batch_size" : "batch_size", "}");
  }
  if (report.fixes().empty()) return "the report has no fix; `oomtrace analyze` says why";
  return absl::StrCat(
      "its fixes need an edit (", report.fixes(0).title(), "); make one, and try it: oomtrace dryrun --gpu ",
      report.device().total(),
      report.device().other_processes() > 0 ? absl::StrCat(" --other ", report.device().other_processes()) : "",
      " -- python train.py");
}

absl::StatusOr<RecordedRun> CardsLike(const RankReport& process) {
  const report::DeviceTable& device = process.report.device();
  GpuRequest gpu;
  gpu.gpu = absl::StrCat(device.total());
  if (device.other_processes() > 0) gpu.other = absl::StrCat(device.other_processes());
  if (device.context() > 0) gpu.context = absl::StrCat(device.context());
  gpu.gpus = CardsOf(process);
  return SimulatedRun(gpu, /*record=*/true);
}

void PrintHead(const RecordedProcess& process, int cards, const Restored& restored) {
  const report::DeviceTable& device = process.rank.report.device();
  if (!process.remark.empty()) std::printf("%s\n", process.remark.c_str());
  std::printf("On %s of %s%s, %s of them held by others, with a CUDA context of %s.\n",
              cards == 1 ? "a simulated card" : absl::StrCat(cards, " simulated cards").c_str(),
              Bytes(device.total()).c_str(), cards == 1 ? "" : " each", Bytes(device.other_processes()).c_str(),
              Bytes(device.context()).c_str());
  if (!restored.set.empty()) std::printf("As in the job: %s.\n", absl::StrJoin(restored.set, ", ").c_str());
  if (!restored.unset.empty())
    std::printf("Without %s, which the job had not.\n", absl::StrJoin(restored.unset, ", ").c_str());
  std::printf("\n");
}

void PrintTrial(const FixTrial& trial, TrialResult result) {
  const report::Fix& fix = *trial.fix;
  const report::Verification& v = fix.verification();
  std::printf("%s\n", fix.title().c_str());
  for (const std::string& variable : v.environment()) std::printf("  %s\n", variable.c_str());
  std::printf("  %s\n", ShellQuoted(trial.command).c_str());
  if (!trial.left_out.empty() && result != TrialResult::kUnknown) {
    std::printf("  without %s: the command has no place for it, so the effective batch changes\n",
                absl::StrJoin(trial.left_out, ", ").c_str());
  }
  if (result == TrialResult::kUnknown) {
    std::printf("  not known: %s\n\n", v.why().c_str());
    return;
  }
  const double error =
      v.peak() > 0 ? 100.0 * static_cast<double>(fix.predicted_peak() - v.peak()) / static_cast<double>(v.peak()) : 0;
  std::printf("  %s (simulated, %s, %s)\n", v.died() ? "dies" : "fits", Count(v.steps(), "optimizer step").c_str(),
              v.ended().c_str());
  if (v.died()) {
    std::printf("  %s\n", v.where().c_str());
    std::printf("  predicted peak %s; it asked for more than the card has\n\n", Bytes(fix.predicted_peak()).c_str());
  } else {
    std::printf("  simulated peak %s; predicted %s (%+.1f %%)\n\n", Bytes(v.peak()).c_str(),
                Bytes(fix.predicted_peak()).c_str(), error);
  }
}

// Runs them, and prints what came of each. The exit status.
int RunAll(RecordedProcess& process, FixTrials& all, const Options& options) {
  report::Report& report = process.rank.report;
  absl::StatusOr<RecordedRun> run = CardsLike(process.rank);
  if (!run.ok()) return Refuse(report, options, run.status(), "");
  ScratchFolder folder;  // of the traces and logs of the runs
  if (!folder.status().ok()) return Refuse(report, options, folder.status(), "");
  const bool text = options.output.format == "text";
  const Restored restored = RestoreRecorded(report.trace(), run->environment);
  if (text) PrintHead(process, CardsOf(process.rank), restored);
  bool fits = false, unknown = false;
  for (size_t i = 0; i < all.trials.size(); ++i) {
    FixTrial& trial = all.trials[i];
    const TrialResult result = RunTrial(process.rank, trial, *run, {options.seconds, folder.path()}, i);
    fits |= result == TrialResult::kFits;
    unknown |= result == TrialResult::kUnknown;
    if (text) {
      PrintTrial(trial, result);
    } else if (result == TrialResult::kUnknown) {
      PrintError(absl::StrCat("verify: ", trial.fix->title(), ": ", trial.fix->verification().why()), "");
    }
    std::fflush(stdout);
  }
  for (const report::Fix* fix : all.skipped) {
    if (text) std::printf("Not run: %s: %s.\n", fix->title().c_str(), fix->verification().why().c_str());
  }
  if (!text) std::printf("%s\n", RenderJson(report).c_str());
  if (unknown) folder.Keep();
  return fits ? kExitHealthy : unknown ? kExitUsage : kExitOutOfMemory;
}

// The trace that is named, else the newest.
absl::StatusOr<RecordedProcess> Process(const std::string& named) {
  if (!named.empty()) return ReadProcess(named);
  const absl::StatusOr<std::string> newest = NewestTrace();
  if (!newest.ok()) return newest.status();
  return ReadProcess(*newest);
}

int Verify(const Options& options, std::vector<std::string> command) {
  Values values;
  for (const std::string& text : options.vary) {
    const auto value = ParseValue(text);
    if (!value.ok()) return Fail(std::string(value.status().message()), "");
    values[value->first] = value->second;
  }
  absl::StatusOr<RecordedProcess> process = Process(options.trace);
  if (!process.ok()) {
    PrintError(std::string(process.status().message()),
               options.trace.empty() ? "name a trace: oomtrace verify TRACE" : "");
    return ExitStatusOf(process.status());
  }
  report::Report& report = process->rank.report;
  if (!report.out_of_memory().happened()) {
    report.set_not_verified("the job did not run out of memory");
    if (options.output.format == "json") std::printf("%s\n", RenderJson(report).c_str());
    if (options.output.format == "text")
      std::printf("%s did not run out of memory: there is nothing to verify.\n", report.trace().path().c_str());
    return kExitHealthy;
  }
  const bool recorded = command.empty();
  if (recorded) {
    auto again = RecordedCommand(process->rank);
    if (!again.ok()) return Refuse(report, options, again.status(), "");
    command = *std::move(again);
  }
  auto all = PlanTrials(report, command, values, options.fixes);
  if (!all.ok()) return Refuse(report, options, all.status(), "");
  if (all->trials.empty()) {
    const auto why = absl::FailedPreconditionError("no fix of this report is a setting or a flag of this command");
    return Refuse(report, options, why, Advice(report, *all));
  }
  if (recorded) std::filesystem::current_path(report.trace().working_directory());
  return RunAll(*process, *all, options);
}

}  // namespace

void AddVerify(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("verify", "Run a report's fixes on a simulated GPU, and say which fit");
  auto options = std::make_shared<Options>();
  SetUsage(*command, "oomtrace verify [TRACE] [OPTIONS] [-- COMMAND…]");
  command->add_option("TRACE", options->trace,
                      "Trace of the job that died, or a folder with one (default: the newest)");
  command->add_option("--vary", options->vary, "What {NAME} in the command stood for when the job died")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--fixes", options->fixes, "How many of them to run, best first")
      ->type_name("N")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  command->add_option("--limit", options->seconds, "Stop a run after so many seconds")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  AddOutputOptions(*command, options->output);
  command->footer(kFooter);
  command->callback([options, &invocation] { invocation.exit_status = Verify(*options, invocation.command); });
}

}  // namespace oomtrace
