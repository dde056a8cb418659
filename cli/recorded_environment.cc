#include "cli/recorded_environment.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

// Of the variables that the recorder notes (interpose/record/process_info.cc), those that belong to the job rather than
// to one process or machine.
constexpr std::string_view kOfTheJob[] = {
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_HIP_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "CUPY_GPU_MEMORY_LIMIT",
    "CUDA_MODULE_LOADING",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NCCL_BUFFSIZE",
    "NCCL_CUMEM_ENABLE",
    "TORCH_CUDNN_V8_API_DISABLED",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
};

}  // namespace

std::vector<std::pair<std::string, std::string>> RecordedVariables(const report::Trace& trace) {
  std::vector<std::pair<std::string, std::string>> variables;
  for (const std::string& variable : trace.environment()) {
    const size_t equals = variable.find('=');
    if (equals != std::string::npos) variables.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return variables;
}

Restored RestoreRecorded(const report::Trace& trace, Environment& environment) {
  std::map<std::string, std::string> recorded;
  for (const auto& [name, value] : RecordedVariables(trace)) recorded[name] = value;
  Restored restored;
  for (const std::string_view known : kOfTheJob) {
    const std::string name(known);
    const auto found = recorded.find(name);
    if (found == recorded.end()) {
      if (environment.Has(name)) restored.unset.push_back(name);
      environment.Unset(name);
    } else if (!environment.Has(name) || environment.Get(name) != found->second) {
      restored.set.push_back(absl::StrCat(name, "=", found->second));
      environment.Set(name, found->second);
    }
  }
  environment.Unset("CUDA_VISIBLE_DEVICES");
  return restored;
}

}  // namespace oomtrace
