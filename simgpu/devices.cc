#include "simgpu/devices.h"

#include <cctype>
#include <cmath>
#include <cstdlib>

namespace oomtrace::simgpu {
namespace {

constexpr int kMiB = 1 << 20;

// A card below this is a slip of the pen ("4070" for rtx4070), and no CUDA context would fit.
constexpr int64_t kSmallestCard = 64LL * kMiB;

// Totals are quoted with two decimals in out-of-memory messages; this is the nearest multiple of 64 KiB.
constexpr int64_t Gib(double gib) { return static_cast<int64_t>(gib * 16384 + 0.5) * 65536; }

// "message": the total in a PyTorch out-of-memory message of that card, collected with its link in the project's notes.
// "reported": the figure usually seen in public PyTorch reports for the card, no single source kept.
// "derived": the nominal size less 2.6 %, the share that the driver withholds on the nearest card with a figure.
constexpr GpuModel kModels[] = {
    {"rtx3060", "NVIDIA GeForce RTX 3060", Gib(11.75), 8, 6, 28, 3 * kMiB, 1777000, 192, kDefaultContextBytes,
     "reported"},
    {"rtx3080", "NVIDIA GeForce RTX 3080", Gib(9.78), 8, 6, 68, 5 * kMiB, 1710000, 320, kDefaultContextBytes,
     "reported"},
    {"rtx3090", "NVIDIA GeForce RTX 3090", Gib(23.68), 8, 6, 82, 6 * kMiB, 1695000, 384, kDefaultContextBytes,
     "message: nanoGPT issue 208"},
    {"rtx4060", "NVIDIA GeForce RTX 4060", Gib(7.75), 8, 9, 24, 24 * kMiB, 2460000, 128, kDefaultContextBytes,
     "message: minimind issue 48"},
    {"rtx4070", "NVIDIA GeForce RTX 4070", Gib(11.69), 8, 9, 46, 36 * kMiB, 2475000, 192, kDefaultContextBytes,
     "message: nanoGPT on an RTX 4070"},
    {"rtx4070ti", "NVIDIA GeForce RTX 4070 Ti", Gib(11.72), 8, 9, 60, 48 * kMiB, 2610000, 192, kDefaultContextBytes,
     "reported"},
    {"rtx4080", "NVIDIA GeForce RTX 4080", Gib(15.70), 8, 9, 76, 64 * kMiB, 2505000, 256, kDefaultContextBytes,
     "reported"},
    {"rtx4090", "NVIDIA GeForce RTX 4090", Gib(23.65), 8, 9, 128, 72 * kMiB, 2520000, 384, kDefaultContextBytes,
     "reported"},
    {"rtx5070", "NVIDIA GeForce RTX 5070", Gib(11.69), 12, 0, 48, 48 * kMiB, 2512000, 192, kDefaultContextBytes,
     "derived"},
    {"rtx5080", "NVIDIA GeForce RTX 5080", Gib(15.47), 12, 0, 84, 64 * kMiB, 2617000, 256, kDefaultContextBytes,
     "reported"},
    {"rtx5090", "NVIDIA GeForce RTX 5090", Gib(31.37), 12, 0, 170, 96 * kMiB, 2407000, 512, kDefaultContextBytes,
     "message: a transformers from_pretrained log"},
    {"t4", "Tesla T4", Gib(14.74), 7, 5, 40, 4 * kMiB, 1590000, 256, kDefaultContextBytes, "reported"},
    {"v100-16gb", "Tesla V100-SXM2-16GB", Gib(15.78), 7, 0, 80, 6 * kMiB, 1530000, 4096, kDefaultContextBytes,
     "message: nanoGPT issue 61"},
    {"v100-32gb", "Tesla V100-SXM2-32GB", Gib(31.75), 7, 0, 80, 6 * kMiB, 1530000, 4096, kDefaultContextBytes,
     "reported"},
    {"a10", "NVIDIA A10", Gib(22.06), 8, 6, 72, 6 * kMiB, 1695000, 384, kDefaultContextBytes, "reported"},
    {"a10g", "NVIDIA A10G", Gib(22.06), 8, 6, 80, 6 * kMiB, 1710000, 384, kDefaultContextBytes, "message: a vLLM log"},
    {"a40", "NVIDIA A40", Gib(44.43), 8, 6, 84, 6 * kMiB, 1740000, 384, kDefaultContextBytes, "reported"},
    {"a6000", "NVIDIA RTX A6000", Gib(47.54), 8, 6, 84, 6 * kMiB, 1800000, 384, kDefaultContextBytes, "reported"},
    {"l4", "NVIDIA L4", Gib(22.05), 8, 9, 58, 48 * kMiB, 2040000, 192, kDefaultContextBytes, "reported"},
    {"l40s", "NVIDIA L40S", Gib(44.43), 8, 9, 142, 96 * kMiB, 2520000, 384, kDefaultContextBytes, "reported"},
    {"a100-40gb", "NVIDIA A100-SXM4-40GB", Gib(39.56), 8, 0, 108, 40 * kMiB, 1410000, 5120, kDefaultContextBytes,
     "message: nanoGPT issue 391"},
    {"a100-80gb", "NVIDIA A100-SXM4-80GB", Gib(79.15), 8, 0, 108, 40 * kMiB, 1410000, 5120, kDefaultContextBytes,
     "reported"},
    {"h100", "NVIDIA H100 80GB HBM3", Gib(79.19), 9, 0, 132, 50 * kMiB, 1980000, 5120, kDefaultContextBytes,
     "message: nanochat issue 443"},
    {"h200", "NVIDIA H200", Gib(139.81), 9, 0, 132, 60 * kMiB, 1980000, 6144, kDefaultContextBytes, "reported"},
    {"b200", "NVIDIA B200", Gib(178.35), 10, 0, 148, 126 * kMiB, 1965000, 8192, kDefaultContextBytes, "reported"},
};

constexpr CapabilityLimits kLimits[] = {
    {7, 0, 98304, 98304, 2048, 32},    {7, 5, 65536, 65536, 1024, 16},    {8, 0, 167936, 166912, 2048, 32},
    {8, 6, 102400, 101376, 1536, 16},  {8, 9, 102400, 101376, 1536, 24},  {9, 0, 233472, 232448, 2048, 32},
    {10, 0, 233472, 232448, 2048, 32}, {12, 0, 102400, 101376, 1536, 24},
};

// Lower case without separators, so that "RTX 4070" and "a100_40gb" find their card.
std::string Canonical(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '.') out += static_cast<char>(std::tolower(c));
  }
  return out;
}

}  // namespace

std::span<const GpuModel> GpuModels() { return kModels; }

const CapabilityLimits& LimitsOf(int capability_major, int capability_minor) {
  const CapabilityLimits* best = &kLimits[0];
  for (const CapabilityLimits& limits : kLimits) {
    if (limits.major * 10 + limits.minor <= capability_major * 10 + capability_minor) best = &limits;
  }
  return *best;
}

std::optional<GpuModel> FindGpu(std::string_view name) {
  const std::string wanted = Canonical(name);
  const GpuModel* like = nullptr;
  for (const GpuModel& model : kModels) {
    if (Canonical(model.name) == wanted) return model;
    if (std::string_view(model.name) == "rtx4070") like = &model;
  }
  const std::optional<int64_t> bytes = ParseBytes(name);
  if (!bytes || *bytes < kSmallestCard) return std::nullopt;
  GpuModel custom = *like;
  custom.name = "custom";
  custom.marketing_name = "Simulated GPU";
  custom.total_bytes = *bytes;
  custom.total_source = "as asked for";
  return custom;
}

std::string GpuNames() {
  std::string names;
  for (const GpuModel& model : kModels) {
    if (!names.empty()) names += ", ";
    names += model.name;
  }
  return names;
}

std::optional<int64_t> ParseBytes(std::string_view text) {
  const std::string copy(text);
  char* end = nullptr;
  const double number = std::strtod(copy.c_str(), &end);
  if (end == copy.c_str() || !std::isfinite(number) || number < 0) return std::nullopt;
  struct Unit {
    const char* suffix;
    double bytes;
  };
  static constexpr Unit kUnits[] = {
      {"", 1},     {"b", 1},    {"kib", 1024.0}, {"mib", 1048576.0}, {"gib", 1073741824.0}, {"kb", 1e3},
      {"mb", 1e6}, {"gb", 1e9}, {"k", 1024.0},   {"m", 1048576.0},   {"g", 1073741824.0},   {"tib", 1099511627776.0},
  };
  const std::string suffix = Canonical(end);
  for (const Unit& unit : kUnits) {
    if (suffix != unit.suffix) continue;
    const double bytes = number * unit.bytes;
    if (bytes > 9.0e18) return std::nullopt;
    return static_cast<int64_t>(bytes + 0.5);
  }
  return std::nullopt;
}

}  // namespace oomtrace::simgpu
