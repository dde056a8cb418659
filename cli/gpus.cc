// oomtrace gpus: the cards that can be simulated.
#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"
#include "cli/subcommands.h"
#include "simgpu/devices.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Example:
  oomtrace gpus

The memory is what cudaMemGetInfo reports as the total: less than what is printed on the box. Case, dashes and spaces
in a name do not matter. Exit status: 0.)";

void PrintGpus() {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  absl::PrintF("%-12s  %-32s  %10s  %s\n", "NAME", "CARD", "MEMORY", "CAPABILITY");
  for (const simgpu::GpuModel& model : simgpu::GpuModels()) {
    absl::PrintF("%-12s  %-32s  %6.2f GiB  %d.%d\n", model.name, model.marketing_name,
                 static_cast<double>(model.total_bytes) / kGiB, model.capability_major, model.capability_minor);
  }
}

}  // namespace

void AddGpus(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("gpus", "List the cards that can be simulated");
  command->footer(kFooter);
  command->callback([] { PrintGpus(); });
}

}  // namespace oomtrace
