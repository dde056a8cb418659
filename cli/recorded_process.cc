#include "cli/recorded_process.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "analyzer/analyze.h"
#include "cli/environment.h"
#include "cli/invocation.h"
#include "cli/launch.h"
#include "cli/recorded_environment.h"
#include "cli/trace_files.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

constexpr int kMostCards = 16;  // that can be simulated

// Where the script stands among the words of a Python command: behind the interpreter and its options. The number of
// words where there is none: -c, -m, standard input, another program.
size_t ScriptAt(const std::vector<std::string>& command) {
  if (command.empty() || !absl::StartsWith(fs::path(command.front()).filename().string(), "python"))
    return command.size();
  for (size_t i = 1; i < command.size(); ++i) {
    const std::string& word = command[i];
    if (word.empty() || word[0] != '-') return i;
    if (word == "-" || word == "-c" || word == "-m") break;
    if (word == "-X" || word == "-W" || word == "--check-hash-based-pycs") ++i;  // the next word is its value
  }
  return command.size();
}

int64_t Number(const RankReport& process, const std::string& name) {
  int64_t number = 0;
  for (const auto& [key, value] : RecordedVariables(process.report.trace())) {
    if (key == name && !absl::SimpleAtoi(value, &number)) number = 0;
  }
  return number;
}

// "torchrun --nproc-per-node=2 train.py --lr 1": how the ranks of this machine are started together.
std::string WithLauncher(const RankReport& process, const std::vector<std::string>& command) {
  std::vector<std::string> words = {"torchrun", absl::StrCat("--nproc-per-node=", CardsOf(process))};
  const size_t script = ScriptAt(command);
  if (script < command.size()) {
    words.insert(words.end(), command.begin() + static_cast<ptrdiff_t>(script), command.end());
  } else {
    words.emplace_back("train.py");
  }
  return ShellQuoted(words);
}

absl::Status Missing(const std::string& what, const std::string& advice) {
  return absl::FailedPreconditionError(
      absl::StrCat(what, "; ", advice, ": oomtrace verify TRACE -- python train.py ..."));
}

}  // namespace

int64_t OptimizerSteps(const report::Report& report, int64_t steps) {
  return report.step_noun() == "backward pass" ? 0 : steps;
}

int CardsOf(const RankReport& process) {
  const int64_t cards = std::max({int64_t{1}, process.report.device().index() + 1, Number(process, "LOCAL_WORLD_SIZE"),
                                  Number(process, "OOMTRACE_SIM_DEVICES")});
  return static_cast<int>(std::min<int64_t>(cards, kMostCards));
}

absl::StatusOr<RecordedProcess> ReadProcess(const std::string& path) {
  std::error_code error;
  std::vector<fs::path> traces;
  if (fs::is_directory(path, error)) {
    traces = TracesIn(path);
    if (traces.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": no *.oomtrace file is in this folder"));
  } else {
    traces.emplace_back(path);
  }
  std::vector<RankReport> ranks;
  for (const fs::path& trace : traces) {
    absl::StatusOr<RankReport> rank = AnalyzeRank(trace.string(), AnalyzeOptions{});
    if (!rank.ok()) return rank.status();
    ranks.push_back(*std::move(rank));
  }
  if (ranks.size() == 1) return RecordedProcess{std::move(ranks.front()), ""};
  const std::optional<report::Job> job = MergeReports(ranks);
  if (!job) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds ", traces.size(),
                                                   " traces, which are not the ranks of one job; name one of them: ",
                                                   "oomtrace verify ", ShellQuoted({traces.front().string()})));
  }
  const auto first =
      std::find_if(ranks.begin(), ranks.end(), [&](const RankReport& rank) { return rank.rank == job->first_rank(); });
  if (first == ranks.end()) return RecordedProcess{std::move(ranks.front()), job->summary()};
  std::string remark = absl::StrCat(job->summary(), " The fixes are those of ", first->report.trace().path(), ".");
  return RecordedProcess{std::move(*first), std::move(remark)};
}

absl::StatusOr<std::vector<std::string>> RecordedCommand(const RankReport& process) {
  const report::Trace& trace = process.report.trace();
  const std::string& folder = trace.working_directory();
  std::vector<std::string> command(trace.command().begin(), trace.command().end());
  if (command.empty()) return Missing("the trace has no command line", "give one");
  if (process.world_size > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("the trace is of rank ", process.rank, " of ", process.world_size,
                     ", and one rank cannot be run alone; give the launcher's command: oomtrace verify TRACE -- ",
                     WithLauncher(process, command)));
  }
  std::error_code error;
  const std::string where = absl::StrCat("the recorded command is ", ShellQuoted(command), " in ", folder);
  const std::string advice = "go to where the job is now and give its command";
  if (!fs::is_directory(folder, error)) return Missing(absl::StrCat(where, ": that folder is not there"), advice);
  const bool in_folder = absl::StrContains(command.front(), '/');
  const bool there = in_folder ? fs::exists(fs::path(folder) / command.front(), error)
                               : !ResolveCommand(command.front(), Environment::Inherited()).empty();
  if (!there) return Missing(absl::StrCat(where, ": there is no ", command.front()), advice);
  const size_t script = ScriptAt(command);
  if (script < command.size() && !fs::exists(fs::path(folder) / command[script], error))
    return Missing(absl::StrCat(where, ": there is no ", command[script]), advice);
  return command;
}

}  // namespace oomtrace
