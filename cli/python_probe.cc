#include "cli/python_probe.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/launch.h"

namespace oomtrace {
namespace {

// torch/version.py is plain assignments: __version__, cuda, hip.
constexpr char kProbe[] = R"(
import importlib.util, os, platform
found = importlib.util.find_spec("torch")
facts = {}
if found and found.origin:
    with open(os.path.join(os.path.dirname(found.origin), "version.py")) as file:
        exec(file.read(), facts)
print(platform.python_version(), facts.get("__version__", ""), facts.get("cuda") or "", sep="\n")
)";

bool IsPythonName(const std::string& path) {
  return absl::StartsWith(std::filesystem::path(path).filename().string(), "python");
}

}  // namespace

std::string InterpreterOf(const std::string& command, const Environment& environment) {
  const std::string file = ResolveCommand(command, environment);
  if (file.empty() || IsPythonName(file)) return file;
  std::ifstream script(file);
  char first[256] = {};
  script.read(first, sizeof first - 1);
  std::vector<std::string> line = absl::StrSplit(std::string(first).substr(0, std::string(first).find('\n')), ' ');
  if (!absl::StartsWith(line.front(), "#!")) return "";
  const std::string interpreter = line.front().substr(2);
  if (IsPythonName(interpreter)) return interpreter;
  // "#!/usr/bin/env python3"
  if (line.size() > 1 && IsPythonName(line[1])) return ResolveCommand(line[1], environment);
  return "";
}

std::optional<PythonTorch> ProbePython(const std::string& python, const Environment& environment) {
  // A script's own folder must not be searched for a torch.py, nor our libraries be loaded: -I and no preload.
  Environment plain = environment;
  plain.Set("LD_PRELOAD", "");
  const absl::StatusOr<std::string> printed = Capture({python, "-I", "-c", kProbe}, plain);
  if (!printed.ok()) return std::nullopt;
  const std::vector<std::string> lines = absl::StrSplit(*printed, '\n');
  if (lines.size() < 3) return std::nullopt;
  return PythonTorch{python, lines[0], lines[1], lines[2]};
}

std::string TorchProblem(const PythonTorch& found) {
  if (found.torch.empty()) {
    return absl::StrCat(found.python, " has no PyTorch (no module named torch); is this the right environment?");
  }
  if (found.cuda.empty()) {
    return absl::StrCat("PyTorch ", found.torch, " of ", found.python,
                        " is built without CUDA: it can allocate nothing on a GPU; install a CUDA build of torch");
  }
  return "";
}

}  // namespace oomtrace
