// NVML: the devices and who holds memory on them. PyTorch prints this list in its out-of-memory message.
//
// Declared here and not through nvml.h, which no wheel of PyTorch's brings.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simgpu/api.h"
#include "simgpu/machine.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kSuccess = 0;
constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr int kNotFound = 6;
constexpr int kInsufficientSize = 7;
constexpr int kDriverNotLoaded = 9;

// "Other processes" are one process with a number that Linux never gives (PID_MAX_LIMIT is 2^22).
constexpr unsigned kOtherPid = (1u << 22) + 1;

struct ProcessV1 {  // nvmlProcessInfo_v1_t
  unsigned pid;
  unsigned long long used;
};

struct ProcessV2 {  // nvmlProcessInfo_t
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance;
  unsigned compute_instance;
};

struct MemoryV1 {  // nvmlMemory_t
  unsigned long long total, free, used;
};

struct MemoryV2 {  // nvmlMemory_v2_t
  unsigned version;
  unsigned long long total, reserved, free, used;
};

struct FabricInfo {  // nvmlGpuFabricInfoV_t, as far as all of its versions agree
  unsigned version;
  unsigned char cluster[16];
  int status;
  unsigned clique;
  unsigned char state;  // 0: not supported
};

struct PciInfo {  // nvmlPciInfo_t, version 3
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};

void* HandleOf(int index) { return reinterpret_cast<void*>(static_cast<uintptr_t>(index) + 1); }

// -1: not a device.
int IndexOf(const void* handle) {
  const int index = static_cast<int>(reinterpret_cast<uintptr_t>(handle)) - 1;
  return index >= 0 && index < Machine::Get().machine_device_count() ? index : -1;
}

int Give(int index, void** handle) {
  if (index < 0 || index >= Machine::Get().machine_device_count()) return kNotFound;
  *handle = HandleOf(index);
  return kSuccess;
}

template <typename Process>
int ListProcesses(void* device, unsigned* count, Process* processes) {
  const int index = IndexOf(device);
  if (index < 0) return kInvalidArgument;
  const DeviceMemory& memory = Machine::Get().machine_device(index);
  Process found[2] = {};
  unsigned n = 0;
  if (memory.other() > 0) {
    found[n].pid = kOtherPid;
    found[n++].used = static_cast<unsigned long long>(memory.other());
  }
  if (memory.used_by_this_process() > 0) {
    found[n].pid = static_cast<unsigned>(getpid());
    found[n++].used = static_cast<unsigned long long>(memory.used_by_this_process());
  }
  const unsigned room = *count;
  *count = n;
  if (room < n) return kInsufficientSize;
  for (unsigned i = 0; i < n; ++i) processes[i] = found[i];
  return kSuccess;
}

int CopyText(char* to, unsigned length, const char* text) {
  if (std::strlen(text) >= length) return kInsufficientSize;
  std::snprintf(to, length, "%s", text);
  return kSuccess;
}

}  // namespace

SIMGPU_API int nvmlInit_v2() { return Machine::Get().machine_device_count() > 0 ? kSuccess : kDriverNotLoaded; }
SIMGPU_API int nvmlInit() { return nvmlInit_v2(); }
SIMGPU_API int nvmlInitWithFlags(unsigned) { return nvmlInit_v2(); }
SIMGPU_API int nvmlShutdown() { return kSuccess; }

SIMGPU_API const char* nvmlErrorString(int error) {
  switch (error) {
    case kSuccess:
      return "Success";
    case kInvalidArgument:
      return "Invalid Argument";
    case kNotSupported:
      return "Not Supported";
    case kNotFound:
      return "Not Found";
    case kInsufficientSize:
      return "Insufficient Size";
    case kDriverNotLoaded:
      return "Driver Not Loaded";
    default:
      return "Unknown Error";
  }
}

SIMGPU_API int nvmlSystemGetDriverVersion(char* version, unsigned length) {
  return CopyText(version, length, "580.65.06");  // the first driver of CUDA 13.0
}

SIMGPU_API int nvmlSystemGetNVMLVersion(char* version, unsigned length) {
  return CopyText(version, length, "13.580.65.06");
}

SIMGPU_API int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = 13000;
  return kSuccess;
}

SIMGPU_API int nvmlSystemGetCudaDriverVersion(int* version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

SIMGPU_API int nvmlSystemGetProcessName(unsigned pid, char* name, unsigned length) {
  if (pid == kOtherPid) return CopyText(name, length, "other processes (OOMTRACE_SIM_OTHER)");
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/comm", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return kNotFound;
  char text[64] = "";
  const bool read = std::fgets(text, sizeof text, file) != nullptr;
  std::fclose(file);
  if (!read) return kNotFound;
  text[std::strcspn(text, "\n")] = '\0';
  return CopyText(name, length, text);
}

SIMGPU_API int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(Machine::Get().machine_device_count());
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

SIMGPU_API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  return Give(static_cast<int>(index), handle);
}

SIMGPU_API int nvmlDeviceGetHandleByIndex(unsigned index, void** handle) {
  return Give(static_cast<int>(index), handle);
}

SIMGPU_API int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** handle) {
  unsigned domain = 0;
  unsigned bus = 0;
  if (std::sscanf(id, "%x:%x", &domain, &bus) != 2) return kInvalidArgument;
  return Give(static_cast<int>(bus) - Machine::PciBus(0), handle);
}

SIMGPU_API int nvmlDeviceGetUUID(void* device, char* uuid, unsigned length) {
  const int index = IndexOf(device);
  if (index < 0) return kInvalidArgument;
  unsigned char b[16];
  Machine::Uuid(index, b);
  char text[64];
  std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
  return CopyText(uuid, length, text);
}

SIMGPU_API int nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) {
  for (int i = 0; i < Machine::Get().machine_device_count(); ++i) {
    char text[64];
    if (nvmlDeviceGetUUID(HandleOf(i), text, sizeof text) == kSuccess && std::strcmp(text, uuid) == 0) {
      return Give(i, handle);
    }
  }
  return kNotFound;
}

SIMGPU_API int nvmlDeviceGetIndex(void* device, unsigned* index) {
  const int found = IndexOf(device);
  if (found < 0) return kInvalidArgument;
  *index = static_cast<unsigned>(found);
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  if (IndexOf(device) < 0) return kInvalidArgument;
  return CopyText(name, length, Machine::Get().settings().gpu->marketing_name);
}

SIMGPU_API int nvmlDeviceGetMemoryInfo(void* device, MemoryV1* info) {
  const int index = IndexOf(device);
  if (index < 0) return kInvalidArgument;
  const DeviceMemory& memory = Machine::Get().machine_device(index);
  info->total = static_cast<unsigned long long>(memory.total());
  info->free = static_cast<unsigned long long>(memory.free());
  info->used = info->total - info->free;
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetMemoryInfo_v2(void* device, MemoryV2* info) {
  MemoryV1 v1;
  if (const int error = nvmlDeviceGetMemoryInfo(device, &v1)) return error;
  info->total = v1.total;
  info->reserved = 0;
  info->free = v1.free;
  info->used = v1.used;
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* info) {
  const int index = IndexOf(device);
  if (index < 0) return kInvalidArgument;
  *info = {};
  info->bus = static_cast<unsigned>(Machine::PciBus(index));
  std::snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "0000:%02X:00.0", info->bus & 0xff);
  std::snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus & 0xff);
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
  if (IndexOf(device) < 0) return kInvalidArgument;
  *major = Machine::Get().settings().gpu->capability_major;
  *minor = Machine::Get().settings().gpu->capability_minor;
  return kSuccess;
}

SIMGPU_API int nvmlDeviceGetComputeRunningProcesses(void* device, unsigned* count, ProcessV1* processes) {
  return ListProcesses(device, count, processes);
}

SIMGPU_API int nvmlDeviceGetComputeRunningProcesses_v2(void* device, unsigned* count, ProcessV2* processes) {
  return ListProcesses(device, count, processes);
}

SIMGPU_API int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, ProcessV2* processes) {
  return ListProcesses(device, count, processes);
}

SIMGPU_API int nvmlDeviceGetGraphicsRunningProcesses_v3(void* device, unsigned* count, ProcessV2*) {
  *count = 0;
  return IndexOf(device) < 0 ? kInvalidArgument : kSuccess;
}

// Idle: no kernel runs.
SIMGPU_API int nvmlDeviceGetUtilizationRates(void* device, unsigned (*rates)[2]) {
  (*rates)[0] = (*rates)[1] = 0;
  return IndexOf(device) < 0 ? kInvalidArgument : kSuccess;
}

// Status 0: every peer-to-peer capability is there.
SIMGPU_API int nvmlDeviceGetP2PStatus(void*, void*, int, int* status) {
  *status = 0;
  return kSuccess;
}

// No NVLink and no fabric: callers treat these answers as "go on without".
SIMGPU_API int nvmlDeviceGetNvLinkRemoteDeviceType(void*, unsigned, int*) { return kNotSupported; }
SIMGPU_API int nvmlDeviceGetNvLinkRemotePciInfo_v2(void*, unsigned, PciInfo*) { return kNotSupported; }
// A card that is on no fabric. PyTorch 2.13 takes any other answer than success for an error.
SIMGPU_API int nvmlDeviceGetGpuFabricInfoV(void* device, FabricInfo* info) {
  if (IndexOf(device) < 0) return kInvalidArgument;
  const unsigned version = info->version;
  *info = {};
  info->version = version;
  return kSuccess;
}
