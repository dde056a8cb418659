// oomtrace fit: the largest value of a command's argument that fits on simulated cards, proven by running it.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/fit_report.h"
#include "cli/fit_search.h"
#include "cli/recorded_run.h"
#include "cli/simulated_run.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"
#include "cli/usage.h"
#include "cli/vary.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace fit --gpu rtx4070,rtx4090 --vary batch_size=1..256 -- \
    python train.py --batch_size={batch_size} --gradient_accumulation_steps={512//batch_size}
  oomtrace fit --gpu 24GiB --vary bs=1..64 --vary width=512,1024 --results fit.json -- \
    python train.py --bs {bs} --width {width}

The first --vary is a range, and is searched. Further ones are lists: each combination of their values is a search of its
own. In braces stand whole numbers, names, + - * // % and ( ); other braces are the command's own. Each trial is the real
command on the simulated GPU, ended when --steps optimizer steps are complete. The value that is printed was run and fits;
the value above it was run and does not.

Exit status: 0, 3 where on some card not even the first value fits, 1 for wrong arguments, a command that fails in another
way than for want of device memory, or a trial that reached the time limit.)";

struct Options {
  std::string gpu;
  FitRequest request;
  std::vector<std::string> vary;
  TrialGoal goal = {3, false, 600};
  std::string until;
  OutputOptions output;
};

absl::Status ReadGpus(Options& options) {
  FitRequest& request = options.request;
  for (const absl::string_view text : absl::StrSplit(options.gpu, ',')) {
    const std::string gpu(absl::StripAsciiWhitespace(text));
    if (std::find(request.gpus.begin(), request.gpus.end(), gpu) != request.gpus.end())
      return absl::InvalidArgumentError(absl::StrCat("--gpu ", options.gpu, ": ", gpu, " stands there twice"));
    GpuRequest one = request.others;
    one.gpu = gpu;
    // What is wrong with any of them is said before the first is run.
    if (const auto run = SimulatedRun(one, /*record=*/true); !run.ok()) return run.status();
    request.gpus.push_back(gpu);
  }
  return absl::OkStatus();
}

absl::Status ReadVariations(Options& options, FitReport& report) {
  std::set<std::string> names;
  const std::set<std::string> places = NamesIn(report.command);
  for (const std::string& text : options.vary) {
    absl::StatusOr<Variation> variation = ParseVariation(text);
    if (!variation.ok()) return variation.status();
    const auto bad = [&](const std::string& why) {
      return absl::InvalidArgumentError(absl::StrCat("--vary ", text, ": ", why));
    };
    if (!names.insert(variation->name).second) return bad("a --vary before it has the same name");
    if (!places.contains(variation->name))
      return bad(absl::StrCat("the command has no place {", variation->name, "} for it"));
    const bool first = &text == &options.vary.front();
    if (first && !variation->values.empty()) return bad("the first is searched, and must be a range: NAME=FIRST..LAST");
    if (!first && variation->values.empty()) return bad("only the first is searched; list the values: NAME=1,2,4");
    if (first) {
      report.varied = *std::move(variation);
    } else {
      options.request.lists.push_back(*std::move(variation));
    }
  }
  return absl::OkStatus();
}

// Both ends of the range, so that an expression which does not hold there is said before anything is run.
absl::Status CheckCommand(const Options& options, const FitReport& report) {
  Values values;
  for (const Variation& list : options.request.lists) values[list.name] = absl::StrCat(list.values.front());
  for (const int64_t value : {report.varied.first, report.varied.last}) {
    values[report.varied.name] = absl::StrCat(value);
    if (const auto filled = Fill(report.command, values); !filled.ok()) return filled.status();
  }
  return absl::OkStatus();
}

void Fit(Options& options, Invocation& invocation) {
  FitReport report;
  report.command = invocation.command;
  report.goal = options.goal;
  report.goal.evaluation = !options.until.empty();
  absl::Status status = ReadVariations(options, report);
  if (status.ok()) status = ReadGpus(options);
  if (status.ok()) status = CheckCommand(options, report);
  if (status.ok()) status = SearchAll(options.request, report, invocation.signal);
  if (absl::IsCancelled(status)) {
    std::fprintf(stderr, "oomtrace: fit: interrupted%s\n",
                 options.request.results.empty() ? "; with --results FILE the finished trials would be kept"
                                                 : "; the same command goes on from the finished trials");
    return;
  }
  report.error = std::string(status.message());
  const bool json = options.output.format == "json";
  if (json) {
    std::printf("%s\n", RenderFitJson(report).c_str());
  } else if (std::any_of(report.rows.begin(), report.rows.end(),
                         [](const FitRow& row) { return !row.trials.empty(); })) {
    std::fputs(RenderFitText(report, UseColor(options.output.color), Columns()).c_str(), stdout);
  }
  std::fflush(stdout);
  if (!status.ok()) PrintError(absl::StrCat("fit: ", status.message()), "");
  const bool none =
      std::any_of(report.rows.begin(), report.rows.end(), [](const FitRow& row) { return !row.largest(); });
  invocation.exit_status = !status.ok() ? kExitUsage : none ? kExitOutOfMemory : kExitHealthy;
}

}  // namespace

void AddFit(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("fit", "Find the largest batch that fits on simulated GPUs, by running it");
  auto options = std::make_shared<Options>();
  SetUsage(*command, "oomtrace fit --gpu A[,B…] --vary NAME=FIRST..LAST [OPTIONS] -- COMMAND…");
  command->add_option("--gpu", options->gpu, "Cards of `oomtrace gpus` or sizes, with commas between")
      ->type_name("A,B")
      ->required();
  command->add_option("--vary", options->vary, "NAME=FIRST..LAST, searched; further ones NAME=1,2,4")
      ->type_name("NAME=VALUES")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--steps", options->goal.steps, "Optimizer steps after which a trial is ended")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--until", options->until, "eval: and after an evaluation that follows the first optimizer step")
      ->type_name("eval")
      ->check(CLI::IsMember({"eval"}));
  command->add_option("--results", options->request.results, "Keep finished trials in this file, and go on from it")
      ->type_name("FILE");
  command
      ->add_option("--limit", options->goal.limit_s, "Seconds that a trial may take; one that takes longer ends it all")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  command->add_option("--other", options->request.others.other, "Memory that other processes hold on each card")
      ->type_name("SIZE");
  command->add_option("--context", options->request.others.context, "Size of the CUDA context (default: the card's)")
      ->type_name("SIZE");
  command->add_option("--gpus", options->request.others.gpus, "Number of such cards")
      ->type_name("N")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  command->add_flag("!--no-fork", options->request.fork, "Start each trial as a process of its own");
  AddOutputOptions(*command, options->output);
  command->allow_extras();
  command->footer(kFooter);
  command->callback([command, options, &invocation] {
    if (HasCommand("fit", command->remaining(), invocation)) Fit(*options, invocation);
  });
}

}  // namespace oomtrace
