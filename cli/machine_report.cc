#include "cli/machine_report.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/environment.h"
#include "cli/installation.h"
#include "cli/launch.h"
#include "cli/python_probe.h"

namespace oomtrace {
namespace {

// Bytes that one trace may take when OOMTRACE_BUDGET says nothing else: docs/recorder.md.
constexpr uintmax_t kTraceBudget = uintmax_t{512} << 20;

void Line(std::string& text, const char* what, const std::string& found) {
  absl::StrAppendFormat(&text, "  %-16s %s\n", what, found);
}

// The driver's own answer, through libcuda (signatures of cuda.h).
std::string DescribeDriver() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "none: no GPU can be used here; `oomtrace dryrun` needs none";
  const auto initialise = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count_devices = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  const auto version = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  if (initialise == nullptr || count_devices == nullptr || version == nullptr) {
    return "libcuda.so.1 lacks cuInit: not a driver";
  }
  if (const int error = initialise(0); error != 0)
    return absl::StrCat("installed, but cuInit fails with error ", error);
  int devices = 0;
  int cuda = 0;
  count_devices(&devices);
  version(&cuda);
  return absl::StrCat("for CUDA ", cuda / 1000, ".", cuda % 1000 / 10, ", ", devices, devices == 1 ? " GPU" : " GPUs");
}

// Whether the CUPTI collector can run here: docs/cupti.md.
std::string DescribeTimeline(const std::string& recorder, const Environment& environment) {
  const std::filesystem::path collector = std::filesystem::path(recorder).parent_path() / "liboomtrace_cupti.so";
  std::error_code error;
  if (!std::filesystem::exists(collector, error)) return absl::StrCat(collector.string(), " is missing");
  for (const char* variable : {"CUDA_INJECTION64_PATH", "NVTX_INJECTION64_PATH"}) {
    const std::string tool = environment.Get(variable);
    if (!tool.empty() && tool.find("liboomtrace") == std::string::npos)
      return absl::StrCat("not beside the tool that ", variable, " names: ", tool);
  }
  if (!HasDriver()) return "not without an NVIDIA driver; `oomtrace dryrun --timeline` shows a simulated one";
  return "`oomtrace run --timeline`; off otherwise, its cost on a GPU has not been measured";
}

std::string DescribeSimulatedGpu(const Installation& installation) {
  const absl::StatusOr<std::vector<std::string>> libraries = SimulatedGpuLibraries(installation);
  if (!libraries.ok()) return std::string(libraries.status().message());
  return absl::StrCat(installation.simulated_gpu.string(), ", ", libraries->size(), " libraries");
}

std::string DescribeTraceFolder(const Environment& environment) {
  const std::string named = environment.Get("OOMTRACE_DIR");
  const std::string folder = named.empty() ? "." : named;
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  if (error) return absl::StrCat(folder, ": ", error.message());
  return absl::StrFormat("%s, %d MiB free%s", named.empty() ? "the working directory" : folder, space.available >> 20,
                         space.available < kTraceBudget ? ": less than a long job's trace may take" : "");
}

// Whether the interpreter starts with the recorder inside: a foreign architecture or a static interpreter does not.
bool LoadsInto(const std::string& python, const std::string& recorder, Environment environment) {
  environment.Preload({recorder});
  const absl::StatusOr<std::string> printed =
      Capture({python, "-I", "-c", "print('liboomtrace.so' in open('/proc/self/maps').read())"}, environment);
  return printed.ok() && *printed == "True\n";
}

std::string PythonToExamine(const std::string& command, const Environment& environment) {
  if (!command.empty()) return InterpreterOf(command, environment);
  const std::string python = ResolveCommand("python", environment);
  return python.empty() ? ResolveCommand("python3", environment) : python;
}

}  // namespace

bool HasDriver() { return dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr; }

MachineReport ReportMachine(const std::string& command) {
  MachineReport report;
  const Environment environment = Environment::Inherited();
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) {
    report.text = absl::StrCat("  ", std::string(installation.status().message()), "\n");
    return report;
  }
  const absl::StatusOr<std::string> recorder = RecorderLibrary(*installation);
  Line(report.text, "recorder", recorder.ok() ? *recorder : std::string(recorder.status().message()));
  if (recorder.ok()) Line(report.text, "GPU timeline", DescribeTimeline(*recorder, environment));
  Line(report.text, "simulated GPU", DescribeSimulatedGpu(*installation));
  Line(report.text, "NVIDIA driver", DescribeDriver());
  Line(report.text, "traces go to", DescribeTraceFolder(environment));
  if (const std::string preload = environment.Get("LD_PRELOAD"); !preload.empty()) {
    Line(report.text, "LD_PRELOAD", absl::StrCat(preload, " (kept, after the recorder)"));
  }
  report.can_record = recorder.ok();
  const std::string python = PythonToExamine(command, environment);
  if (python.empty() && !command.empty()) return report;
  const std::optional<PythonTorch> found = python.empty() ? std::nullopt : ProbePython(python, environment);
  if (!found) {
    Line(report.text, "python",
         python.empty() ? "none in PATH: activate the environment of your job" : absl::StrCat(python, " does not run"));
    return report;
  }
  Line(report.text, "python", absl::StrCat(found->python, ", ", found->version));
  const std::string problem = TorchProblem(*found);
  Line(report.text, "PyTorch", problem.empty() ? absl::StrCat(found->torch, ", CUDA ", found->cuda) : problem);
  if (recorder.ok()) {
    report.can_record = LoadsInto(python, *recorder, environment);
    Line(report.text, "preloading",
         report.can_record ? "works with this python" : "fails: this python does not load it");
  }
  return report;
}

}  // namespace oomtrace
