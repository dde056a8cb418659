// The cards that the simulated GPU can be: sizes and limits as the CUDA runtime reports them.
//
// Plain tables and pure functions, no CUDA needed; safe from any thread. Sizes are bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace oomtrace::simgpu {

// CUDA context of one process on one device when nothing else is said: the value at which the simulated nanoGPT run
// reproduces the figures of a real RTX 4070 report (docs/simulated-gpu.md, "Context").
inline constexpr int64_t kDefaultContextBytes = 236223201;  // 0.22 GiB

struct GpuModel {
  const char* name;            // what the user types: "rtx4070", "a100-40gb"
  const char* marketing_name;  // what torch.cuda.get_device_name() prints
  int64_t total_bytes;         // the `total` of cudaMemGetInfo: less than the nominal size by the driver's reserve
  int capability_major;
  int capability_minor;
  int multiprocessors;
  int l2_bytes;
  int clock_khz;  // boost
  int bus_width;  // bits
  int64_t context_bytes;
  const char* total_source;  // where total_bytes comes from
};

// Limits that every card of one compute capability shares (CUDA C++ Programming Guide, "Compute Capabilities").
struct CapabilityLimits {
  int major;
  int minor;
  int shared_per_multiprocessor;
  int shared_per_block_optin;
  int threads_per_multiprocessor;
  int blocks_per_multiprocessor;
};

std::span<const GpuModel> GpuModels();
const CapabilityLimits& LimitsOf(int capability_major, int capability_minor);

// By name, whatever the case, dashes, underscores and spaces ("RTX 4070", "A100_40GB"), or a size such as "12GiB": a
// card of that capacity with the other properties of an RTX 4070. std::nullopt: neither.
std::optional<GpuModel> FindGpu(std::string_view name);

// "rtx3060, rtx3080, ..." for messages.
std::string GpuNames();

// "12GiB", "1.97 GiB", "512MiB", "24GB" (10^9), "1073741824". std::nullopt: not a size, or negative.
std::optional<int64_t> ParseBytes(std::string_view text);

}  // namespace oomtrace::simgpu
