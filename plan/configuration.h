// Models and their training from the files people have: nanoGPT's settings, Transformers' config.json, nanochat's
// depth. Files are parsed, never executed. Errors say the file, the line where there is one, and what was expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "plan/model.h"

namespace oomtrace::plan {

struct Configuration {
  Model model;
  std::optional<int64_t> batch;  // what the file says of the training, where it says it
  std::optional<int64_t> sequence;
  std::optional<int64_t> accumulation;
  std::optional<Precision> precision;
  std::optional<Optimizer> optimizer;
  std::optional<bool> compile;
  bool evaluation = false;
};

// nanoGPT's train.py with its defaults, and the assignments `name = value` of one configuration over them. Values are
// numbers, products of whole numbers, strings, True and False; others are passed over unless memory depends on them.
absl::StatusOr<Configuration> NanoGptConfiguration(const std::string& text, const std::string& file);

// model_type gpt2, llama, mistral, qwen2, qwen3.
absl::StatusOr<Configuration> TransformersConfiguration(const std::string& text, const std::string& file);

// By its name: .py or .json. A folder stands for the config.json in it.
absl::StatusOr<Configuration> ReadConfiguration(const std::string& path);

// nanochat's scripts/base_train.py (commit 92d63d4) with --depth and its defaults.
Configuration NanochatConfiguration(int64_t depth);

absl::StatusOr<Precision> ParsePrecision(const std::string& name);
absl::StatusOr<Optimizer> ParseOptimizer(const std::string& name);
std::string Name(Precision precision);
std::string Name(Optimizer optimizer);

// InvalidArgument where the figures do not make a model, or this combination is not modelled.
absl::Status Check(const Model& model, const Training& training);

}  // namespace oomtrace::plan
