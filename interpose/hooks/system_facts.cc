#include "interpose/hooks/system_facts.h"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "interpose/hooks/binding_audit.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/nvml.h"
#include "interpose/hooks/real.h"
#include "interpose/python/py_api.h"
#include "interpose/record/clock.h"
#include "interpose/record/events.h"
#include "interpose/record/trace_name.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

constexpr uint64_t kSlowTickNs = 10000000000;
constexpr size_t kLongestCgroup = 1024;
std::atomic<uint64_t> last_tick{0};
constexpr uint32_t kMostDevices = 64;
std::atomic<const Recorder*> told_by{nullptr};  // a forked child has a recorder of its own
std::atomic<uint64_t> told{0};                  // devices, a bit each

struct ContainerMark {
  const char* in_cgroup;  // a part of the process's path there
  const char* file;       // that exists
  const char* variable;   // that is set
  const char* name;
};
constexpr ContainerMark kContainerMarks[] = {
    {"kubepods", "/var/run/secrets/kubernetes.io", "KUBERNETES_SERVICE_HOST", "kubernetes"},
    {"docker", "/.dockerenv", nullptr, "docker"},
    {"libpod", "/run/.containerenv", nullptr, "podman"},
    {nullptr, "/.singularity.d", "APPTAINER_CONTAINER", "apptainer"},
    {"slurm", nullptr, "SLURM_JOB_ID", "slurm"},
};

const char* Container(const char* cgroup) {
  for (const ContainerMark& mark : kContainerMarks) {
    if (mark.in_cgroup != nullptr && strstr(cgroup, mark.in_cgroup) != nullptr) return mark.name;
    if (mark.file != nullptr && access(mark.file, F_OK) == 0) return mark.name;
    if (mark.variable != nullptr && getenv(mark.variable) != nullptr) return mark.name;
  }
  return "";
}

// The last line of /proc/self/cgroup is "0::/path" with version 2; all lines of version 1 end in a path, too.
const char* CgroupPath(char* text, size_t size) {
  size = ReadFile("/proc/self/cgroup", text, size - 1);
  text[size] = 0;
  while (size > 0 && text[size - 1] == '\n') text[--size] = 0;
  const char* line = strrchr(text, '\n');
  const char* path = strchr(line != nullptr ? line : text, '/');
  return path != nullptr ? path : "";
}

}  // namespace

void WriteDeviceOnce(Recorder& recorder, uint32_t index) {
  if (told_by.load(std::memory_order_relaxed) != &recorder) {
    told.store(0, std::memory_order_relaxed);
    told_by.store(&recorder, std::memory_order_relaxed);
  }
  const uint64_t bit = index < kMostDevices ? uint64_t{1} << index : 0;
  if ((told.load(std::memory_order_relaxed) & bit) != 0 || bit == 0) return;
  told.fetch_or(bit, std::memory_order_relaxed);
  DeviceFacts device = {};
  if (QueryDevice(index, &device))
    recorder.facts().Device(index, device.name, device.total, device.capability_major, device.capability_minor,
                            device.multiprocessors);
}

namespace {

// Of all that the process may use: which of them will refuse is not known yet.
void WriteDevices(Recorder& recorder) {
  for (uint32_t index = 0; index < DeviceCount(); ++index) WriteDeviceOnce(recorder, index);
}

}  // namespace

void WriteSystemFacts(Recorder& recorder) {
  char text[kLongestCgroup];
  const char* cgroup = CgroupPath(text, sizeof(text));
  recorder.facts().Write(kLongestCgroup + 256, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kSystem);
    proto.Uint(1, DriverVersion());
    proto.Uint(2, RuntimeVersion());
    proto.Text(4, cgroup);
    proto.Text(5, Container(text));
    proto.Bool(6, DlsymHooked());
    proto.End(message);
  });
  if (Python() == nullptr) WriteDevices(recorder);
}

void TickSlowClock() {
  const uint64_t now = ClockNs(CLOCK_MONOTONIC_COARSE);
  uint64_t last = last_tick.load(std::memory_order_relaxed);
  if (now - last < kSlowTickNs || !last_tick.compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
  {
    Entry entry(Cause::kFact);
    uint64_t free, total;
    if (!entry || !HasCurrentContext() || !QueryMemory(&free, &total)) return;
    WriteDevices(entry.recorder());
    const uint32_t device = CurrentDevice();
    RecordMemoryInfo(entry.thread(), device, free, total);
    RecordProcessesOf(entry.thread(), device);
  }
  AuditBindings();
}

}  // namespace oomtrace
