// oomtrace dryrun: a command on a simulated GPU.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/gpu_choice.h"
#include "cli/recorded_run.h"
#include "cli/simulated_run.h"
#include "cli/subcommands.h"
#include "cli/usage.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace dryrun --gpu rtx4070 -- python train.py
  oomtrace dryrun --gpu 12GiB --other 1.97GiB -- python train.py --batch_size=8
  oomtrace dryrun --gpu a100-80gb --gpus 2 -- torchrun --nproc-per-node=2 train.py

The real PyTorch runs on a card that does not exist: kernels do nothing, memory is counted as on the real one, so the
job runs out of memory where it would there. Numbers that the job computes are meaningless. `oomtrace gpus` lists the
cards.

Exit status: the command's own; 127 where there is no such command, 126 where it cannot be executed, 1 for wrong
arguments.)";

struct Options {
  GpuRequest gpu;
  std::string output;
  std::string timeline;
  bool no_record = false;
};

void Dryrun(const Options& options, const std::vector<std::string>& extras, Invocation& invocation) {
  if (!HasCommand("dryrun", extras, invocation)) return;
  if (options.no_record && !options.output.empty()) {
    PrintError("dryrun: -o names a trace, and --no-record asks for none", "leave one of them out");
    return;
  }
  absl::StatusOr<RecordedRun> run = SimulatedRun(options.gpu, !options.no_record);
  if (!run.ok()) {
    PrintError(std::string(run.status().message()), "");
    return;
  }
  run->output = options.output;
  run->timeline = options.timeline;
  RunRecorded(*std::move(run), invocation);
}

}  // namespace

void AddDryrun(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("dryrun", "Run a command on a simulated GPU and record it");
  auto options = std::make_shared<Options>();
  SetUsage(*command, "oomtrace dryrun --gpu NAME|SIZE [OPTIONS] -- COMMAND…");
  command->add_option("--gpu", options->gpu.gpu, "A card of `oomtrace gpus`, or a size such as 12GiB")
      ->type_name("NAME|SIZE")
      ->required();
  command->add_option("--other", options->gpu.other, "Memory that other processes hold on each card (default: none)")
      ->type_name("SIZE");
  command->add_option("--context", options->gpu.context, "Size of the CUDA context (default: the card's)")
      ->type_name("SIZE");
  command->add_option("--gpus", options->gpu.gpus, "Number of such cards")
      ->type_name("N")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  AddOutputOption(*command, options->output);
  AddTimelineOption(*command, options->timeline);
  command->add_flag("--no-record", options->no_record, "Only simulate: no recorder, no trace");
  command->allow_extras();
  command->footer(kFooter);
  command->callback([command, options, &invocation] { Dryrun(*options, command->remaining(), invocation); });
}

}  // namespace oomtrace
