#include "cli/fit_search.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/read/crc32c.h"
#include "cli/invocation.h"
#include "cli/trace_files.h"
#include "cli/trial_runner.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

// Each combination of the values of the lists.
std::vector<Values> Combinations(const std::vector<Variation>& lists) {
  std::vector<Values> all = {{}};
  for (const Variation& list : lists) {
    std::vector<Values> longer;
    for (const Values& one : all) {
      for (const int64_t value : list.values) {
        longer.push_back(one);
        longer.back()[list.name] = absl::StrCat(value);
      }
    }
    all = std::move(longer);
  }
  return all;
}

// The files that the command names: a script that was edited is another one.
std::string Fingerprint(const std::vector<std::string>& command) {
  constexpr std::uintmax_t kLargest = 16 << 20;
  std::string prints;
  for (const std::string& word : command) {
    std::error_code error;
    if (!fs::is_regular_file(word, error) || fs::file_size(word, error) > kLargest) continue;
    std::ifstream stream(word, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(stream), {});
    absl::StrAppend(&prints, prints.empty() ? "" : " ", word, ":", absl::Hex(Crc32c(text), absl::kZeroPad8));
  }
  return prints;
}

// Variables that decide what is allocated, as far as their names tell.
std::string Settings() {
  std::vector<std::string> settings;
  for (const std::string& line : Environment::Inherited().Lines()) {
    for (const char* prefix : {"PYTORCH_", "TORCH", "CUDA_", "CUBLAS", "OOMTRACE_SIM_"}) {
      if (line.starts_with(prefix)) settings.push_back(line);
    }
  }
  return absl::StrJoin(settings, " ");
}

Question QuestionOf(const FitRequest& request, const FitReport& report) {
  std::error_code ignored;
  Question question = {{"the command", ShellQuoted(report.command)},
                       {"the folder", fs::current_path(ignored).string()},
                       {"the content of its files", Fingerprint(report.command)},
                       {"--steps", absl::StrCat(report.goal.steps)},
                       {"--until", report.goal.evaluation ? "eval" : ""},
                       {"--other", request.others.other},
                       {"--context", request.others.context},
                       {"--gpus", absl::StrCat(request.others.gpus)},
                       {"the environment", Settings()},
                       {"the version of oomtrace", OOMTRACE_VERSION}};
  return question;
}

class Search {
 public:
  Search(const FitRequest& request, FitReport& report, FitResults& results, fs::path folder, int& interrupted)
      : request_(request),
        report_(report),
        results_(results),
        runner_(report.goal, std::move(folder), request.fork, interrupted) {}

  absl::Status Row(const std::string& gpu, const Values& fixed) {
    report_.rows.push_back({gpu, fixed, {}, false});
    FitRow& row = report_.rows.back();
    const Probe probe = [&](int64_t value) -> absl::StatusOr<bool> {
      absl::StatusOr<Trial> trial = Try(row, value);
      if (!trial.ok()) return trial.status();
      row.trials[value] = *std::move(trial);
      if (const absl::Status alike = CheckAlike(row); !alike.ok()) return alike;
      return row.trials[value].fits;
    };
    Tried tried;
    absl::Status status = SearchLargest(report_.varied.first, report_.varied.last, probe, tried);
    // Where what fits made no step, the smallest value tells whether the job makes any.
    const std::optional<int64_t> largest = row.largest();
    const int64_t first = report_.varied.first;
    if (status.ok() && largest && row.trials[*largest].steps == 0 && !row.trials[*largest].step_noun.empty() &&
        !row.trials.contains(first))
      status = probe(first).status();
    row.finished = status.ok();
    return status;
  }

 private:
  absl::StatusOr<Trial> Try(const FitRow& row, int64_t value) {
    Values values = row.fixed;
    values[report_.varied.name] = absl::StrCat(value);
    const std::string key = absl::StrCat(row.gpu, " ", Described(values));
    if (const Trial* known = results_.Find(key)) {
      Tell(key, *known, absl::StrCat("known from ", results_.path().string()));
      return *known;
    }
    const absl::StatusOr<std::vector<std::string>> command = Fill(report_.command, values);
    if (!command.ok()) return command.status();
    GpuRequest gpu = request_.others;
    gpu.gpu = row.gpu;
    if (Terminal()) std::fprintf(stderr, "oomtrace: %s …\r", key.c_str());
    const auto began = steady_clock::now();
    absl::StatusOr<Trial> trial = runner_.Run(*command, gpu);
    if (!trial.ok()) {
      return absl::Status(trial.status().code(),
                          absl::StrCat("at ", key, ": ", ShellQuoted(*command), ": ", trial.status().message()));
    }
    const std::chrono::duration<double> seconds = steady_clock::now() - began;
    Tell(key, *trial, absl::StrFormat("%.1f s", seconds.count()));
    if (const absl::Status kept = results_.Add(key, *trial); !kept.ok()) return kept;
    return trial;
  }

  static bool Terminal() { return isatty(STDERR_FILENO) == 1; }

  static void Tell(const std::string& key, const Trial& trial, const std::string& how) {
    // What a job does once it is out of memory is its own affair: what counts is how far it came.
    const std::string steps =
        trial.step_noun.empty() ? "" : absl::StrCat(" after ", Count(trial.steps, trial.step_noun));
    const std::string what = trial.fits ? absl::StrCat("fits, ", trial.ended) : absl::StrCat("out of memory", steps);
    std::fprintf(stderr, "oomtrace: %s: %s (%s)\n", key.c_str(), what.c_str(), how.c_str());
  }

  // A batch larger than the data trains nothing, and needs no memory: that is no answer.
  absl::Status CheckAlike(const FitRow& row) const {
    std::optional<int64_t> idle, trains;
    for (const auto& [value, trial] : row.trials) {
      if (trial.fits && trial.steps == 0 && !idle) idle = value;
      if (trial.steps > 0) trains = value;
    }
    if (!idle || !trains) return absl::OkStatus();
    const std::string& name = report_.varied.name;
    return absl::FailedPreconditionError(absl::StrCat(
        "on ", row.gpu, " ", name, "=", *idle, " ended by itself without an optimizer step, and ", name, "=", *trains,
        " made some: they are not the same job, and what fits of one says nothing of the other. ", "Is ", *idle,
        " more than the data holds? Then let the range end below it"));
  }

  const FitRequest& request_;
  FitReport& report_;
  FitResults& results_;
  TrialRunner runner_;
};

}  // namespace

absl::Status SearchAll(const FitRequest& request, FitReport& report, int& interrupted) {
  absl::StatusOr<FitResults> results = FitResults::Open(request.results, QuestionOf(request, report));
  if (!results.ok()) return results.status();
  const ScratchFolder folder;  // of the traces and of what the trials print
  if (!folder.status().ok()) return folder.status();
  Search search(request, report, *results, folder.path(), interrupted);
  for (const std::string& gpu : request.gpus) {
    for (const Values& fixed : Combinations(request.lists)) {
      if (const absl::Status status = search.Row(gpu, fixed); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace oomtrace
