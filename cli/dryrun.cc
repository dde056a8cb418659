// oomtrace dryrun: a command on a simulated GPU.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/gpu_choice.h"
#include "cli/installation.h"
#include "cli/recorded_run.h"
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

absl::StatusOr<RecordedRun> Prepare(const Options& options) {
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) return installation.status();
  RecordedRun run;
  run.output = options.output;
  run.timeline = options.timeline;
  run.record = !options.no_record;
  run.simulated = true;
  if (absl::Status status = ChooseGpu(options.gpu, run.environment); !status.ok()) return status;
  // The recorder first: its functions call on to the simulated GPU's.
  if (run.record) {
    const absl::StatusOr<std::string> recorder = RecorderLibrary(*installation);
    if (!recorder.ok()) return recorder.status();
    run.libraries.push_back(*recorder);
  }
  const absl::StatusOr<std::vector<std::string>> simulated = SimulatedGpuLibraries(*installation);
  if (!simulated.ok()) return simulated.status();
  run.libraries.insert(run.libraries.end(), simulated->begin(), simulated->end());
  // Triton opens libcuda.so.1 by its path, past the preload.
  run.environment.Set("TRITON_LIBCUDA_PATH", installation->simulated_gpu.string());
  // Kernels compile to nothing here: what CuPy and PyTorch would keep of them on disk must not reach a real GPU.
  run.environment.Set("CUPY_CACHE_IN_MEMORY", "1");
  run.environment.Set("USE_PYTORCH_KERNEL_CACHE", "0");
  return run;
}

void Dryrun(const Options& options, const std::vector<std::string>& extras, Invocation& invocation) {
  if (!HasCommand("dryrun", extras, invocation)) return;
  if (options.no_record && !options.output.empty()) {
    PrintError("dryrun: -o names a trace, and --no-record asks for none", "leave one of them out");
    return;
  }
  absl::StatusOr<RecordedRun> run = Prepare(options);
  if (!run.ok()) {
    PrintError(std::string(run.status().message()), "");
    return;
  }
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
