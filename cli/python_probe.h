// Asks a Python interpreter about its PyTorch, without importing it: an import would initialise CUDA libraries.
#pragma once

#include <optional>
#include <string>

#include "cli/environment.h"

namespace oomtrace {

struct PythonTorch {
  std::string python;   // path of the interpreter
  std::string version;  // "3.11.2"
  std::string torch;    // "2.11.0+cu130", "" where it is not installed
  std::string cuda;     // "13.0", "" for a build without CUDA
};

// The interpreter behind a command: the command itself where it is called python…, or the one that its "#!" line
// names (torchrun, accelerate, deepspeed). "" where it is something else.
std::string InterpreterOf(const std::string& command, const Environment& environment);

// std::nullopt: the interpreter does not run.
std::optional<PythonTorch> ProbePython(const std::string& python, const Environment& environment);

// One sentence with what is wrong for a CUDA job, and what to do; "" where nothing is.
std::string TorchProblem(const PythonTorch& found);

}  // namespace oomtrace
