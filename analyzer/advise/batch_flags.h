// The command-line flags by which people set the micro-batch and its accumulation, as this command line has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace oomtrace {

struct Flag {
  std::string name;       // as written, with its dashes: "--batch_size", "-b", "train.batch_size"
  std::string separator;  // "=" or " "
  int64_t value = 0;
  std::string With(int64_t new_value) const;
};

struct BatchFlags {
  std::optional<Flag> batch;
  std::optional<Flag> accumulation;
  std::optional<Flag> evaluation_batch;
  bool total_is_fixed = false;  // the script derives the accumulation from a total batch (nanochat)
};

// Understands --name=value, --name value, -b value and name=value, with - or _ within names, of nanoGPT, nanochat,
// Transformers' TrainingArguments, Lightning, Hydra and hand-written argparse scripts.
BatchFlags FindBatchFlags(const std::vector<std::string>& arguments);

}  // namespace oomtrace
