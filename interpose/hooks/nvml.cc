#include "interpose/hooks/nvml.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <type_traits>

#include "interpose/hooks/real.h"
#include "interpose/record/text.h"
#include "interpose/record/trace_name.h"

namespace oomtrace {
namespace {

// From nvml.h, whose ABI is stable by the suffixes of its names.
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlProcess {  // nvmlProcessInfo_t of the functions that end in _v2 and _v3
  unsigned int pid;
  unsigned long long bytes;
  unsigned int gpu_instance, compute_instance;
};
constexpr unsigned long long kUnknownBytes = ~0ull;  // NVML_VALUE_NOT_AVAILABLE
constexpr unsigned int kMostProcesses = 64;
constexpr int kBusIdLength = 32;

struct Nvml {
  int (*init)();
  int (*device_by_bus)(const char*, NvmlDevice*);
  int (*memory)(NvmlDevice, NvmlMemory*);
  int (*compute)(NvmlDevice, unsigned int*, NvmlProcess*);
  int (*graphics)(NvmlDevice, unsigned int*, NvmlProcess*);
};

bool Load(Nvml* nvml) {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return false;
  const auto find = [&](const char* name, auto** function) {
    *function = reinterpret_cast<std::remove_reference_t<decltype(*function)>>(dlsym(library, name));
    return *function != nullptr;
  };
  return find("nvmlInit_v2", &nvml->init) && find("nvmlDeviceGetHandleByPciBusId_v2", &nvml->device_by_bus) &&
         find("nvmlDeviceGetMemoryInfo", &nvml->memory) &&
         (find("nvmlDeviceGetComputeRunningProcesses_v3", &nvml->compute) ||
          find("nvmlDeviceGetComputeRunningProcesses_v2", &nvml->compute)) &&
         (find("nvmlDeviceGetGraphicsRunningProcesses_v3", &nvml->graphics) ||
          find("nvmlDeviceGetGraphicsRunningProcesses_v2", &nvml->graphics) || true);
}

// The first caller loads it; whoever comes meanwhile goes without.
const Nvml* Get() {
  enum State { kUntried, kLoading, kReady, kAbsent };
  static Nvml nvml;
  static std::atomic<State> state{kUntried};
  State expected = kUntried;
  if (state.compare_exchange_strong(expected, kLoading, std::memory_order_acq_rel)) {
    expected = Load(&nvml) && nvml.init() == 0 ? kReady : kAbsent;
    state.store(expected, std::memory_order_release);
  }
  return expected == kReady ? &nvml : nullptr;
}

// NVML counts every device of the machine, CUDA those in CUDA_VISIBLE_DEVICES: the PCI bus id is common to both.
bool FindDevice(const Nvml& nvml, uint32_t index, NvmlDevice* device) {
  using BusId = int(char*, int, int);
  auto* bus_id = reinterpret_cast<BusId*>(FindIn(HookLibrary::kCuda, "cuDeviceGetPCIBusId"));
  char text[kBusIdLength];
  return bus_id != nullptr && bus_id(text, sizeof(text), static_cast<int>(index)) == 0 &&
         nvml.device_by_bus(text, device) == 0;
}

void ReadName(uint32_t pid, GpuProcess* process) {
  Text<64> path;
  path.Add("/proc/").AddNumber(pid).Add("/comm");
  size_t size = ReadFile(path.c_str(), process->name, sizeof(process->name) - 1);
  while (size > 0 && process->name[size - 1] == '\n') --size;
  process->name[size] = 0;
}

uint32_t Append(int (*list)(NvmlDevice, unsigned int*, NvmlProcess*), NvmlDevice device, GpuProcess* processes,
                uint32_t count) {
  NvmlProcess found[kMostProcesses];
  unsigned int size = kMostProcesses;
  if (list == nullptr || list(device, &size, found) != 0) return count;
  for (unsigned int i = 0; i < size && count < kMostProcesses; ++i) {
    bool known = false;  // a process that computes and draws is in both lists
    for (uint32_t j = 0; j < count; ++j) known |= processes[j].pid == found[i].pid;
    if (known) continue;
    GpuProcess& process = processes[count++];
    process.pid = found[i].pid;
    process.bytes = found[i].bytes == kUnknownBytes ? 0 : found[i].bytes;
    process.self = found[i].pid == static_cast<unsigned int>(getpid());
    ReadName(process.pid, &process);
  }
  return count;
}

}  // namespace

void RecordProcessesOf(ThreadState& thread, uint32_t index) {
  const Nvml* nvml = Get();
  NvmlDevice device;
  NvmlMemory memory = {};
  if (nvml == nullptr || !FindDevice(*nvml, index, &device) || nvml->memory(device, &memory) != 0) return;
  GpuProcess processes[kMostProcesses];
  uint32_t count = Append(nvml->compute, device, processes, 0);
  count = Append(nvml->graphics, device, processes, count);
  RecordGpuProcesses(thread, index, memory.used, memory.total, processes, count);
}

}  // namespace oomtrace
