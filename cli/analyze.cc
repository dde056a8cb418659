// oomtrace analyze: the verdict of one or several traces.
#include "analyzer/analyze.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/job/job.h"
#include "analyzer/render/job_text.h"
#include "analyzer/render/json.h"
#include "analyzer/render/text.h"
#include "cli/progress_bar.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "report.pb.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace analyze
  oomtrace analyze job.oomtrace
  oomtrace analyze --format json job.oomtrace | jq .pattern
  oomtrace analyze traces/*.oomtrace

Without TRACE: the newest *.oomtrace of the working directory, else of $OOMTRACE_DIR. A folder stands for the traces in
it. Of the ranks of one job (RANK and WORLD_SIZE tell) a verdict comes first that says which ran out of memory first,
and which went down with it; then each by itself. JSON is one object for one trace and an array for several, in the order
given, the merged verdict as "job" in the first; traces that cannot be read are left out and reported on stderr.

Exit status: 0 no trace died of memory, 3 an out-of-memory was diagnosed in at least one, 1 wrong arguments or a file
that is missing or no trace, 2 a trace is damaged beyond use (1 and 2 win over 3).)";

struct Options {
  std::vector<std::string> traces;
  OutputOptions output;
};

// `worst`: 1 and 2 win over 3, 3 over 0.
int Worse(int a, int b) {
  const auto rank = [](int status) { return status == kExitOutOfMemory ? 1 : status == kExitHealthy ? 0 : 2; };
  return rank(b) > rank(a) ? b : a;
}

// "job.oomtrace, rank 3": what tells the reports of one job apart.
std::string NameOf(const RankReport& rank) {
  const std::string& path = rank.report.trace().path();
  return rank.rank < 0 ? path : absl::StrCat(path, ", rank ", rank.rank);
}

void PrintJson(const std::vector<RankReport>& reports, bool one) {
  const std::optional<report::Job> job = MergeReports(reports);
  std::vector<std::string> texts;
  texts.reserve(reports.size());
  for (const RankReport& rank : reports)
    texts.push_back(job && texts.empty() ? RenderJson(rank.report, *job) : RenderJson(rank.report));
  if (one && texts.empty()) return;
  std::printf("%s\n", one ? texts.front().c_str() : ("[" + absl::StrJoin(texts, ",\n") + "]").c_str());
}

void Print(const std::vector<RankReport>& reports, const Options& options) {
  if (options.output.format == "json") return PrintJson(reports, options.traces.size() == 1);
  TextOptions text;
  text.color = UseColor(options.output.color);
  text.width = Columns();
  const std::optional<report::Job> job = MergeReports(reports);
  if (job) std::printf("%s\n", RenderText(*job, text).c_str());
  for (size_t i = 0; i < reports.size(); ++i) {
    if (i > 0) std::printf("\n");
    if (options.traces.size() > 1) std::printf("Trace: %s\n\n", NameOf(reports[i]).c_str());
    std::printf("%s", RenderText(reports[i].report, text).c_str());
  }
}

absl::StatusOr<RankReport> AnalyzeFile(const std::string& path) {
  ProgressBar bar("Reading " + path);
  return AnalyzeRank(path, {.progress = [&](double share) { bar.Show(share); }});
}

// A folder stands for the traces in it, by name; one without any stays, and is answered as what it is.
void ExpandFolders(std::vector<std::string>* traces) {
  std::vector<std::string> expanded;
  for (const std::string& trace : *traces) {
    std::vector<std::filesystem::path> inside;
    std::error_code error;
    if (std::filesystem::is_directory(trace, error)) inside = TracesIn(trace);
    std::sort(inside.begin(), inside.end());
    for (const std::filesystem::path& path : inside) expanded.push_back(path.string());
    if (inside.empty()) expanded.push_back(trace);
  }
  *traces = std::move(expanded);
}

int Analyze(Options options) {
  if (options.traces.empty()) {
    const auto newest = NewestTrace();
    if (!newest.ok()) {
      PrintError(std::string(newest.status().message()),
                 "name a trace: oomtrace analyze TRACE; `oomtrace run -- python train.py` makes one");
      return kExitUsage;
    }
    options.traces.push_back(*newest);
  }
  ExpandFolders(&options.traces);
  int status = kExitHealthy;
  std::vector<RankReport> reports;
  for (const std::string& trace : options.traces) {
    absl::StatusOr<RankReport> report = AnalyzeFile(trace);
    if (!report.ok()) {
      PrintError(std::string(report.status().message()), "");
      status = Worse(status, ExitStatusOf(report.status()));
      continue;
    }
    status = Worse(status, report->report.out_of_memory().happened() ? kExitOutOfMemory : kExitHealthy);
    reports.push_back(*std::move(report));
  }
  Print(reports, options);
  return status;
}

}  // namespace

void AddAnalyze(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("analyze", "Say why a recorded job ran out of memory");
  auto options = std::make_shared<Options>();
  command->add_option("TRACE", options->traces, "Traces to analyse (default: the newest)");
  AddOutputOptions(*command, options->output);
  command->footer(kFooter);
  command->callback([options, &invocation] {
    // What follows a "--" are traces too: names that start with a dash.
    options->traces.insert(options->traces.end(), invocation.command.begin(), invocation.command.end());
    invocation.exit_status = Analyze(*options);
  });
}

}  // namespace oomtrace
