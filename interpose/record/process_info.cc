#include "interpose/record/process_info.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstring>

#include "interpose/record/trace_name.h"
#include "interpose/record/wire.h"

extern char** environ;

#ifndef OOMTRACE_VERSION
#error "OOMTRACE_VERSION comes from the build"
#endif

namespace oomtrace {
namespace {

// The packet must fit into a chunk: arguments beyond this many bytes are cut, longer variables are left out.
constexpr size_t kMostText = 8192;
constexpr size_t kMostVariable = 512;
constexpr size_t kMostPacket = 32768;

constexpr std::string_view kPrefixes[] = {"OOMTRACE", "XLA_PYTHON_CLIENT_"};
constexpr std::string_view kNames[] = {
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_HIP_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "CUPY_GPU_MEMORY_LIMIT",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_MODULE_LOADING",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NCCL_BUFFSIZE",
    "NCCL_CUMEM_ENABLE",
    "NVIDIA_VISIBLE_DEVICES",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NTASKS",
    "SLURM_NODEID",
    "TORCH_CUDNN_V8_API_DISABLED",
};

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && memcmp(text.data(), prefix.data(), prefix.size()) == 0;
}

// The simulated GPU announces itself by its variable and by a library of its name in this process.
bool Simulated() {
  if (getenv("OOMTRACE_SIM_GPU") == nullptr) return false;
  const char* preload = getenv("LD_PRELOAD");
  return preload != nullptr && strstr(preload, "simgpu") != nullptr;
}

void AddLink(ProtoWriter& proto, uint32_t field, const char* link) {
  char target[4096];
  const ssize_t size = readlink(link, target, sizeof(target));
  if (size > 0) proto.Bytes(field, target, static_cast<size_t>(size));
}

void AddBoot(ProtoWriter& proto) {
  char text[64];
  size_t size = ReadFile("/proc/sys/kernel/random/boot_id", text, sizeof(text));
  while (size > 0 && text[size - 1] == '\n') --size;
  proto.Bytes(16, text, size);
}

// The 20th word behind the program's name, which stands in parentheses and may hold anything. 0: not known.
uint64_t StartOfProcess() {
  char text[1024];
  text[ReadFile("/proc/self/stat", text, sizeof(text) - 1)] = 0;
  const char* at = strrchr(text, ')');
  for (int i = 0; at != nullptr && i < 20; ++i) at = strchr(at + 1, ' ');
  return at != nullptr ? strtoull(at + 1, nullptr, 10) : 0;
}

void AddArguments(ProtoWriter& proto, const char* arguments, size_t size) {
  for (const char* argument = arguments; argument < arguments + size; argument += strlen(argument) + 1)
    proto.RepeatedBytes(5, argument, strlen(argument));
}

void AddEnvironment(ProtoWriter& proto) {
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (text.size() < kMostVariable && MattersForMemory(text)) proto.RepeatedBytes(7, text.data(), text.size());
  }
}

}  // namespace

bool MattersForMemory(std::string_view variable) {
  const char* equals = static_cast<const char*>(memchr(variable.data(), '=', variable.size()));
  const std::string_view name(variable.data(),
                              equals != nullptr ? static_cast<size_t>(equals - variable.data()) : variable.size());
  for (const std::string_view known : kNames)
    if (name == known) return true;
  for (const std::string_view prefix : kPrefixes)
    if (StartsWith(name, prefix)) return true;
  return false;
}

void WriteProcess(Facts& facts, const Versions& versions) {
  char arguments[kMostText + 1] = {};
  const size_t size = ReadFile("/proc/self/cmdline", arguments, kMostText);
  char host[65] = {};
  gethostname(host, sizeof(host) - 1);
  facts.Write(kMostPacket, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kProcess);
    proto.Uint(1, static_cast<uint64_t>(getpid()));
    proto.Uint(2, static_cast<uint64_t>(getppid()));
    proto.Text(3, host);
    AddLink(proto, 4, "/proc/self/exe");
    AddArguments(proto, arguments, size);
    AddLink(proto, 6, "/proc/self/cwd");
    AddEnvironment(proto);
    proto.Bytes(8, versions.python.data(), versions.python.size());
    proto.Bytes(9, versions.torch.data(), versions.torch.size());
    proto.Bytes(10, versions.cuda.data(), versions.cuda.size());
    proto.Text(11, OOMTRACE_VERSION);
    proto.Bool(12, Simulated());
    AddBoot(proto);
    proto.Uint(17, StartOfProcess());
    AddLink(proto, 18, "/proc/self/ns/pid");
    proto.End(message);
  });
}

}  // namespace oomtrace
