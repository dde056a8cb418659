#include "cli/gpu_choice.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "simgpu/devices.h"

namespace oomtrace {
namespace {

std::string LettersAndDigits(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain;
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
  std::iota(rows[0].begin(), rows[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({replace, rows[i - 1][j] + 1, rows[i][j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
    }
  }
  return rows.back().back();
}

absl::StatusOr<int64_t> Size(const char* option, const std::string& text) {
  const std::optional<int64_t> bytes = simgpu::ParseBytes(text);
  if (bytes) return *bytes;
  return absl::InvalidArgumentError(
      absl::StrCat(option, " ", text, ": not a size; write it as 1.97GiB, 512MiB or a number of bytes"));
}

// No card has more. The smallest size is simgpu::FindGpu's.
constexpr int64_t kLargestCard = int64_t{1} << 40;
constexpr char kSizeAdvice[] = "a size is 64MiB to 1TiB, with its unit: 12GiB";

// Whether this is meant as a size: "", a number with or without a unit, "nan"; but not "4090", which is part of a name.
bool LooksLikeSize(const std::string& text) {
  char* end = nullptr;
  std::strtod(text.c_str(), &end);
  if (end == text.c_str()) return text.empty();
  constexpr size_t kShortestNumberInAName = 3;
  const std::string plain = LettersAndDigits(text);
  const auto models = simgpu::GpuModels();
  const bool in_a_name = std::any_of(models.begin(), models.end(), [&](const auto& model) {
    return LettersAndDigits(model.name).find(plain) != std::string::npos;
  });
  return plain.size() < kShortestNumberInAName || !in_a_name;
}

absl::Status NoSuchCard(const std::string& text) {
  if (text.empty())
    return absl::InvalidArgumentError("--gpu: the name or the size is missing, such as rtx4070 or 12GiB");
  if (!LooksLikeSize(text)) {
    return absl::InvalidArgumentError(absl::StrCat("--gpu ", text, ": no such card; did you mean ", NearestGpu(text),
                                                   "? Known are ", simgpu::GpuNames(), "; or give a size: 64MiB to ",
                                                   "1TiB, such as 12GiB"));
  }
  const std::optional<int64_t> bytes = simgpu::ParseBytes(text);
  const std::string problem =
      bytes ? absl::StrCat("that is ", *bytes, " bytes, too small for a card") : "neither a card nor a size";
  return absl::InvalidArgumentError(absl::StrCat("--gpu ", text, ": ", problem, "; ", kSizeAdvice));
}

}  // namespace

std::string NearestGpu(const std::string& name) {
  const std::string wanted = LettersAndDigits(name);
  const auto models = simgpu::GpuModels();
  const auto nearest = std::min_element(models.begin(), models.end(), [&](const auto& a, const auto& b) {
    return Distance(wanted, LettersAndDigits(a.name)) < Distance(wanted, LettersAndDigits(b.name));
  });
  return nearest->name;
}

absl::StatusOr<simgpu::GpuModel> CardNamed(const std::string& name) {
  const std::optional<simgpu::GpuModel> model = simgpu::FindGpu(name);
  if (!model) return NoSuchCard(name);
  if (model->total_bytes > kLargestCard)
    return absl::InvalidArgumentError(absl::StrCat("--gpu ", name, ": no card is as large; ", kSizeAdvice));
  return *model;
}

absl::Status ChooseGpu(const GpuRequest& request, Environment& environment) {
  const absl::StatusOr<simgpu::GpuModel> model = CardNamed(request.gpu);
  if (!model.ok()) return model.status();
  const bool is_size = std::string_view(model->name) == "custom";
  environment.Set("OOMTRACE_SIM_GPU", is_size ? absl::StrCat(model->total_bytes) : model->name);
  environment.Set("OOMTRACE_SIM_CAPACITY", is_size ? absl::StrCat(model->total_bytes) : "");
  int64_t taken = 0;
  if (!request.other.empty()) {
    const absl::StatusOr<int64_t> bytes = Size("--other", request.other);
    if (!bytes.ok()) return bytes.status();
    taken += *bytes;
    environment.Set("OOMTRACE_SIM_OTHER", absl::StrCat(*bytes));
  }
  if (!request.context.empty()) {
    const absl::StatusOr<int64_t> bytes = Size("--context", request.context);
    if (!bytes.ok()) return bytes.status();
    taken += *bytes;
    environment.Set("OOMTRACE_SIM_CONTEXT", absl::StrCat(*bytes));
  }
  if (taken > model->total_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("--other and --context together are ", taken,
                                                   " bytes, but the card has only ", model->total_bytes));
  }
  environment.Set("OOMTRACE_SIM_DEVICES", absl::StrCat(request.gpus));
  return absl::OkStatus();
}

}  // namespace oomtrace
