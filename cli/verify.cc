// oomtrace verify: the fixes of a report that need no edit, really run on a simulated card like the recorded one.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/analyze.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/json.h"
#include "cli/recorded_run.h"
#include "cli/simulated_run.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "cli/usage.h"
#include "cli/vary.h"
#include "report.pb.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

constexpr char kFooter[] = R"(Examples:
  oomtrace verify job.oomtrace
  oomtrace verify job.oomtrace -- python train.py --batch_size=64
  oomtrace verify job.oomtrace --vary batch_size=64 --vary accumulation=1 -- \
      python train.py --bs {batch_size} --acc {accumulation}

Reads the trace of a job that ran out of memory, and runs the fixes of its report that need no edit: settings of the
environment, flags of the recorded command line, and, where the command has them, {batch_size}, {accumulation} and
{eval_batch_size}. Each runs on a simulated card of the same capacity, with the same other processes and CUDA context,
from the recorded command and folder, or from the command after `--`. --vary says what such a place stood for when the
job died. The job's own output goes to a file that is named where a run fails for another reason.

Exit status: 0 one of them fits (or the job did not run out of memory), 3 none fits, 1 wrong arguments, no fix that can
be run, or a run that failed otherwise, 2 the trace is damaged beyond use.)";

constexpr int kTimedOut = 124;  // as coreutils' timeout says it

struct Options {
  std::string trace;
  std::vector<std::string> vary;
  int fixes = 3;
  int seconds = 600;
  OutputOptions output;
};

// The settings of PyTorch's allocator that the job had.
std::vector<std::pair<std::string, std::string>> AllocatorSettings(const report::Report& report) {
  std::vector<std::pair<std::string, std::string>> settings;
  for (const std::string& variable : report.trace().environment()) {
    const size_t equals = variable.find('=');
    if (equals != std::string::npos && absl::StartsWith(variable, "PYTORCH_"))
      settings.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return settings;
}

// What has to be done to carry a fix out, as far as this command allows: nothing where it does not.
struct Trial {
  report::Fix* fix = nullptr;
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment;
};

// Puts the flag's value into the command; false where it is not there.
bool SetFlag(const report::FixSetting& flag, std::vector<std::string>& command) {
  for (size_t i = command.size(); i-- > 0;) {
    if (flag.separator() == "=" && absl::StartsWith(command[i], flag.name() + "=")) {
      command[i] = absl::StrCat(flag.name(), "=", flag.value());
      return true;
    }
    if (flag.separator() == " " && command[i] == flag.name() && i + 1 < command.size()) {
      command[i + 1] = flag.value();
      return true;
    }
  }
  return false;
}

// Joins allocator settings: a later one wins over one of the same name.
std::string Joined(const std::string& before, const std::string& added) {
  return before.empty() ? added : absl::StrCat(before, ",", added);
}

absl::StatusOr<std::vector<Trial>> Trials(report::Report& report, const std::vector<std::string>& command,
                                          Values values, int most) {
  std::vector<Trial> trials;
  const std::set<std::string> names = NamesIn(command);
  const auto recorded = AllocatorSettings(report);
  for (report::Fix& fix : *report.mutable_fixes()) {
    if (static_cast<int>(trials.size()) == most) break;
    Trial trial{&fix, command, recorded};
    Values changed = values;
    bool anything = false, batch = false;
    for (const report::FixSetting& setting : fix.settings()) {
      if (setting.kind() == "environment") {
        std::string value = setting.value();
        for (const auto& [name, before] : recorded) {
          if (name == setting.name() || absl::EndsWith(name, "ALLOC_CONF")) value = Joined(before, setting.value());
        }
        trial.environment.emplace_back(setting.name(), value);
        anything = true;
      } else if (setting.kind() == "flag") {
        batch |= SetFlag(setting, trial.command);
      } else if (names.contains(setting.name())) {
        changed[setting.name()] = setting.value();
        batch = true;
      }
    }
    const bool needs_batch = absl::StartsWith(fix.id(), "micro_batch") || fix.id() == "evaluation_batch";
    if (needs_batch ? !batch : !anything) continue;
    auto filled = Fill(trial.command, changed);
    if (!filled.ok()) return filled.status();
    trial.command = *std::move(filled);
    trials.push_back(std::move(trial));
  }
  return trials;
}

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

GpuRequest CardOf(const report::DeviceTable& device) {
  GpuRequest gpu;
  gpu.gpu = absl::StrCat(device.total());
  if (device.other_processes() > 0) gpu.other = absl::StrCat(device.other_processes());
  if (device.context() > 0) gpu.context = absl::StrCat(device.context());
  return gpu;
}

std::string Ended(int status) {
  return status == kTimedOut ? "stopped at the time limit" : absl::StrCat("exit ", status);
}

// Runs one, and books what came of it. An error: it ended for another reason than memory.
absl::Status Run(const report::DeviceTable& device, Trial& trial, const Options& options, const fs::path& folder,
                 size_t number) {
  absl::StatusOr<RecordedRun> run = SimulatedRun(CardOf(device), /*record=*/true);
  if (!run.ok()) return run.status();
  const fs::path trace = folder / absl::StrCat(number, ".oomtrace"), log = folder / absl::StrCat(number, ".log");
  run->output = trace.string();
  run->announce = false;
  for (const auto& [name, value] : trial.environment) run->environment.Set(name, value);
  Invocation inner;
  inner.command = {"timeout", "--kill-after=5", absl::StrCat(options.seconds)};
  inner.command.insert(inner.command.end(), trial.command.begin(), trial.command.end());
  {
    const OutputTo file(log);
    RunRecorded(*std::move(run), inner);
  }
  report::Verification& verification = *trial.fix->mutable_verification();
  for (const std::string& word : trial.command) verification.add_command(word);
  for (const auto& [name, value] : trial.environment) verification.add_environment(absl::StrCat(name, "=", value));
  verification.set_ended(Ended(inner.exit_status));
  // Of several processes the one that died decides, else the one that needed most.
  const report::Report* worst = nullptr;
  std::vector<report::Report> reports;
  for (const fs::path& path : TracesIn(folder)) {
    if (!absl::StartsWith(path.filename().string(), absl::StrCat(number, "."))) continue;
    auto report = AnalyzeTrace(path.string(), AnalyzeOptions{});
    if (report.ok()) reports.push_back(*std::move(report));
  }
  for (const report::Report& report : reports) {
    const auto weight = [](const report::Report& r) {
      return std::pair(r.out_of_memory().happened(), r.peak().reserved());
    };
    if (worst == nullptr || weight(report) > weight(*worst)) worst = &report;
  }
  const bool other_failure = inner.exit_status != 0 && inner.exit_status != kTimedOut &&
                             (worst == nullptr || !worst->out_of_memory().happened());
  if (worst == nullptr || other_failure) {
    return absl::FailedPreconditionError(
        absl::StrCat("the run of \"", trial.fix->title(), "\" ended with ", verification.ended(),
                     worst == nullptr ? " and touched no CUDA memory" : ", not of memory", "; what it printed is in ",
                     log.string()));
  }
  verification.set_run(true);
  verification.set_peak(worst->peak().reserved());
  verification.set_died(worst->out_of_memory().happened());
  verification.set_steps(worst->steps_completed());
  if (verification.died()) verification.set_where(worst->summary());
  trial.fix->set_basis("simulated");
  trial.fix->set_fits(!verification.died());
  trial.fix->clear_condition();
  return absl::OkStatus();
}

void PrintTrial(const Trial& trial) {
  const report::Fix& fix = *trial.fix;
  const report::Verification& v = fix.verification();
  std::printf("%s\n", fix.title().c_str());
  for (const std::string& variable : v.environment()) std::printf("  %s\n", variable.c_str());
  std::printf("  %s\n", ShellQuoted(trial.command).c_str());
  if (!v.run()) {
    std::printf("  not known: the run failed\n\n");
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

int Fail(const std::string& what, const std::string& advice) {
  PrintError("verify: " + what, advice);
  return kExitUsage;
}

int Verify(const Options& options, const std::vector<std::string>& given) {
  Values values;
  for (const std::string& text : options.vary) {
    const auto value = ParseValue(text);
    if (!value.ok()) return Fail(std::string(value.status().message()), "");
    values[value->first] = value->second;
  }
  std::string path = options.trace;
  if (path.empty()) {
    const auto newest = NewestTrace();
    if (!newest.ok()) return Fail(std::string(newest.status().message()), "name a trace: oomtrace verify TRACE");
    path = *newest;
  }
  absl::StatusOr<report::Report> recorded = AnalyzeTrace(path, AnalyzeOptions{});
  if (!recorded.ok()) {
    PrintError(std::string(recorded.status().message()), "");
    return ExitStatusOf(recorded.status());
  }
  const report::Report& report = *recorded;
  if (!report.out_of_memory().happened()) {
    if (options.output.format == "json") std::printf("%s\n", RenderJson(report).c_str());
    if (options.output.format == "text")
      std::printf("%s did not run out of memory: there is nothing to verify.\n", path.c_str());
    return kExitHealthy;
  }
  std::vector<std::string> command = given;
  if (command.empty()) {
    command.assign(report.trace().command().begin(), report.trace().command().end());
    std::error_code error;
    fs::current_path(report.trace().working_directory(), error);
    if (command.empty() || error) {
      return Fail(absl::StrCat("the recorded command cannot be run again from ", report.trace().working_directory()),
                  "go to the job's folder and give the command: oomtrace verify TRACE -- python train.py ...");
    }
  }
  auto trials = Trials(*recorded, command, values, options.fixes);
  if (!trials.ok()) return Fail(std::string(trials.status().message()), "");
  if (trials->empty()) {
    return Fail("no fix of this report is a setting or a flag of this command",
                "where the batch is a flag, give the command with a place for it: oomtrace verify TRACE -- python "
                "train.py --bs {batch_size}; `oomtrace analyze` lists the fixes");
  }
  ScratchFolder folder;  // of the traces and logs of the runs
  if (!folder.status().ok()) return Fail(std::string(folder.status().message()), "");
  bool fits = false, failed = false;
  if (options.output.format == "text") {
    std::printf("On a simulated card of %s, %s of them held by others, with a CUDA context of %s:\n\n",
                Bytes(report.device().total()).c_str(), Bytes(report.device().other_processes()).c_str(),
                Bytes(report.device().context()).c_str());
  }
  for (size_t i = 0; i < trials->size(); ++i) {
    Trial& trial = (*trials)[i];
    const absl::Status status = Run(report.device(), trial, options, folder.path(), i);
    if (!status.ok()) PrintError("verify: " + std::string(status.message()), "");
    failed |= !status.ok();
    fits |= status.ok() && trial.fix->fits();
    if (options.output.format == "text") PrintTrial(trial);
  }
  if (options.output.format == "json") std::printf("%s\n", RenderJson(report).c_str());
  if (failed) folder.Keep();
  return fits ? kExitHealthy : failed ? kExitUsage : kExitOutOfMemory;
}

}  // namespace

void AddVerify(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("verify", "Run a report's fixes on a simulated GPU, and say which fit");
  auto options = std::make_shared<Options>();
  SetUsage(*command, "oomtrace verify [TRACE] [OPTIONS] [-- COMMAND…]");
  command->add_option("TRACE", options->trace, "Trace of the job that died (default: the newest)");
  command->add_option("--vary", options->vary, "What {NAME} in the command stood for when the job died")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--fixes", options->fixes, "How many of them to run, best first")
      ->type_name("N")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  command->add_option("--limit", options->seconds, "Stop a run after so many seconds: it fits if it lives until then")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  AddOutputOptions(*command, options->output);
  command->footer(kFooter);
  command->callback([options, &invocation] { invocation.exit_status = Verify(*options, invocation.command); });
}

}  // namespace oomtrace
