#include "plan/configuration.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace oomtrace::plan {
namespace {

const std::vector<std::pair<std::string, Precision>> kPrecisions = {{"amp-bf16", Precision::kAutocastBfloat16},
                                                                    {"amp-fp16", Precision::kAutocastFloat16},
                                                                    {"bf16", Precision::kBfloat16},
                                                                    {"fp32", Precision::kFloat32}};
const std::vector<std::pair<std::string, Optimizer>> kOptimizers = {{"adamw", Optimizer::kAdamwForeach},
                                                                    {"adamw-fused", Optimizer::kAdamwFused},
                                                                    {"adamw-loop", Optimizer::kAdamwLoop},
                                                                    {"sgd", Optimizer::kSgd},
                                                                    {"sgd-momentum", Optimizer::kSgdMomentum}};
constexpr char kMuonName[] = "muon";  // nanochat's own, no choice for other models

template <typename T>
absl::StatusOr<T> Find(const std::vector<std::pair<std::string, T>>& known, const std::string& what,
                       const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [key, value] : known) {
    if (key == name) return value;
    names.push_back(key);
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " ", name, ": expected ", absl::StrJoin(names, ", ")));
}

template <typename T>
std::string NameOf(const std::vector<std::pair<std::string, T>>& known, T wanted) {
  for (const auto& [key, value] : known) {
    if (value == wanted) return key;
  }
  return "";
}

}  // namespace

absl::StatusOr<Precision> ParsePrecision(const std::string& name) { return Find(kPrecisions, "--precision", name); }
absl::StatusOr<Optimizer> ParseOptimizer(const std::string& name) {
  if (name == kMuonName) return Optimizer::kMuon;
  return Find(kOptimizers, "--optimizer", name);
}
std::string Name(Precision precision) { return NameOf(kPrecisions, precision); }
std::string Name(Optimizer optimizer) {
  return optimizer == Optimizer::kMuon ? kMuonName : NameOf(kOptimizers, optimizer);
}

absl::StatusOr<Configuration> ReadConfiguration(const std::string& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  const std::string file = folder ? (std::filesystem::path(path) / "config.json").string() : path;
  if (folder && !std::filesystem::exists(file, error)) {
    return absl::NotFoundError(absl::StrCat(path, " is a folder without a config.json; name a configuration in it"));
  }
  std::ifstream stream(file, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  if (!stream.good() && !stream.eof()) return absl::NotFoundError(absl::StrCat("cannot read ", file));
  if (absl::EndsWith(file, ".py")) return NanoGptConfiguration(text, file);
  if (absl::EndsWith(file, ".json")) return TransformersConfiguration(text, file);
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": expected a nanoGPT configuration (.py) or a Transformers config.json"));
}

absl::Status Check(const Model& model, const Training& training) {
  constexpr int64_t kMost = int64_t{1} << 24;
  const std::pair<const char*, int64_t> sizes[] = {
      {"layers", model.layers},         {"heads", model.heads},     {"hidden", model.hidden},
      {"vocabulary", model.vocabulary}, {"inner", model.inner},     {"key-value heads", model.key_heads},
      {"head width", model.head_width}, {"seq", training.sequence}, {"accumulation", training.accumulation}};
  for (const auto& [name, value] : sizes) {
    if (value < 1 || value > kMost)
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ": expected 1 to ", kMost));
  }
  if (model.layers > 1000)
    return absl::InvalidArgumentError(absl::StrCat("layers is ", model.layers, ": at most 1000"));
  if (model.heads % model.key_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(model.heads, " heads are not a multiple of ", model.key_heads, " key-value heads"));
  }
  const bool split = model.family == Family::kNanoGpt || model.family == Family::kGpt2;
  if (split && model.heads * model.head_width != model.hidden) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden ", model.hidden, " is not a multiple of ", model.heads, " heads"));
  }
  if (split && training.sequence > model.positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("seq ", training.sequence, " is more than the model's ", model.positions, " positions"));
  }
  const bool transformers = model.family == Family::kGpt2 || model.family == Family::kLlama;
  if (training.precision == Precision::kFloat32 && model.heads != model.key_heads) {
    return absl::UnimplementedError(
        "grouped key-value heads in float32 run unfused attention in PyTorch, which is not modelled; `oomtrace dryrun` "
        "runs it");
  }
  if (training.compile && transformers)
    return absl::UnimplementedError("--compile of a Transformers model is not modelled; `oomtrace dryrun` runs it");
  if (model.family == Family::kNanochat) {
    const bool as_it_is = training.compile && !training.checkpointing && training.optimizer == Optimizer::kMuon &&
                          training.precision == Precision::kBfloat16;
    if (as_it_is) return absl::OkStatus();
    return absl::UnimplementedError("nanochat is modelled compiled, in bf16 and with its own optimizer alone");
  }
  if (training.compile && (training.checkpointing || training.precision == Precision::kBfloat16)) {
    return absl::UnimplementedError(
        "--compile with --checkpointing or bf16 parameters is not modelled; `oomtrace dryrun` runs it");
  }
  if (training.optimizer == Optimizer::kMuon && model.family != Family::kNanochat)
    return absl::UnimplementedError("muon is modelled for nanochat only");
  return absl::OkStatus();
}

}  // namespace oomtrace::plan
