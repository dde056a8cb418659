#include "simgpu/settings.h"

#include <cstdlib>
#include <string_view>

namespace oomtrace::simgpu {
namespace {

// Stores the size that `name` holds in *bytes, if it is set. False: it holds something else.
bool ReadBytes(const char* (*get)(const char*), const char* name, int64_t* bytes, std::string* error) {
  const char* text = get(name);
  if (text == nullptr || *text == '\0') return true;
  const std::optional<int64_t> parsed = ParseBytes(text);
  if (!parsed) {
    *error = std::string(name) + "=" + text + ": expected a size such as 1.97GiB or a number of bytes";
    return false;
  }
  *bytes = *parsed;
  return true;
}

// CUDA_VISIBLE_DEVICES: numbers, up to the first entry that names no device. Unset: all.
std::vector<int> VisibleDevices(const char* list, int devices) {
  std::vector<int> visible;
  if (list == nullptr) {
    for (int i = 0; i < devices; ++i) visible.push_back(i);
    return visible;
  }
  for (const char* at = list; *at != '\0';) {
    char* end = nullptr;
    const long number = std::strtol(at, &end, 10);
    if (end == at || number < 0 || number >= devices) break;
    visible.push_back(static_cast<int>(number));
    while (*end == ' ') ++end;
    if (*end != ',') break;
    at = end + 1;
  }
  return visible;
}

}  // namespace

Settings ReadSettings(const char* (*get)(const char* name)) {
  Settings settings;
  const char* log = get("OOMTRACE_SIM_LOG");
  settings.log = log != nullptr && std::string_view(log) == "1";
  const char* name = get("OOMTRACE_SIM_GPU");
  if (name == nullptr || *name == '\0') return settings;
  std::optional<GpuModel> gpu = FindGpu(name);
  if (!gpu) {
    settings.error = std::string("OOMTRACE_SIM_GPU=") + name + ": no such card. Known: " + GpuNames() +
                     "; or give a capacity such as 12GiB";
    return settings;
  }
  settings.memory = {.total = gpu->total_bytes, .other = 0, .context = gpu->context_bytes};
  if (!ReadBytes(get, "OOMTRACE_SIM_CAPACITY", &settings.memory.total, &settings.error) ||
      !ReadBytes(get, "OOMTRACE_SIM_OTHER", &settings.memory.other, &settings.error) ||
      !ReadBytes(get, "OOMTRACE_SIM_CONTEXT", &settings.memory.context, &settings.error)) {
    return settings;
  }
  settings.devices = 1;
  if (const char* count = get("OOMTRACE_SIM_DEVICES"); count != nullptr && *count != '\0') {
    char* end = nullptr;
    const long value = std::strtol(count, &end, 10);
    if (*end != '\0' || value < 0 || value > kMaxDevices) {
      settings.error =
          std::string("OOMTRACE_SIM_DEVICES=") + count + ": expected a number from 0 to " + std::to_string(kMaxDevices);
      settings.devices = 0;
      return settings;
    }
    settings.devices = static_cast<int>(value);
  }
  if (settings.devices > 0) settings.gpu = gpu;
  settings.visible = VisibleDevices(get("CUDA_VISIBLE_DEVICES"), settings.devices);
  return settings;
}

}  // namespace oomtrace::simgpu
