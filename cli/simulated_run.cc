#include "cli/simulated_run.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/installation.h"

namespace oomtrace {

absl::StatusOr<RecordedRun> SimulatedRun(const GpuRequest& gpu, bool record) {
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) return installation.status();
  RecordedRun run;
  run.record = record;
  run.simulated = true;
  if (absl::Status status = ChooseGpu(gpu, run.environment); !status.ok()) return status;
  // The recorder first: its functions call on to the simulated GPU's.
  if (record) {
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

}  // namespace oomtrace
