#include "analyzer/advise/batch_flags.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace oomtrace {
namespace {

constexpr std::array<std::string_view, 14> kBatchNames = {"per_device_train_batch_size",
                                                          "device_batch_size",
                                                          "micro_batch_size",
                                                          "micro_batch",
                                                          "train_micro_batch_size",
                                                          "train_batch_size",
                                                          "batch_size",
                                                          "batchsize",
                                                          "batch",
                                                          "bs",
                                                          "b",
                                                          "mbs",
                                                          "bsz",
                                                          "per_gpu_train_batch_size"};
constexpr std::array<std::string_view, 13> kAccumulationNames = {"gradient_accumulation_steps",
                                                                 "gradient_accumulation",
                                                                 "grad_accumulation_steps",
                                                                 "grad_accum_steps",
                                                                 "grad_accum",
                                                                 "accumulation_steps",
                                                                 "accumulate_grad_batches",
                                                                 "accum_steps",
                                                                 "accumulate",
                                                                 "accumulation",
                                                                 "accum",
                                                                 "grad_acc",
                                                                 "grad_accumulation"};
constexpr std::array<std::string_view, 6> kEvaluationNames = {
    "per_device_eval_batch_size", "eval_batch_size", "val_batch_size",
    "valid_batch_size",           "test_batch_size", "validation_batch_size"};
constexpr std::array<std::string_view, 2> kTotalNames = {"total_batch_size", "global_batch_size"};

// "--train.Batch-Size" → "batch_size"
std::string Normal(const std::string& name) {
  std::string normal = absl::AsciiStrToLower(absl::StrReplaceAll(name, {{"-", "_"}}));
  normal.erase(0, normal.find_first_not_of("_+"));
  const size_t dot = normal.rfind('.');
  return dot == std::string::npos ? normal : normal.substr(dot + 1);
}

template <size_t N>
bool IsOneOf(const std::string& name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string Flag::With(int64_t new_value) const { return absl::StrCat(name, separator, new_value); }

BatchFlags FindBatchFlags(const std::vector<std::string>& arguments) {
  BatchFlags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    Flag flag;
    const size_t equals = argument.find('=');
    std::string value;
    if (equals != std::string::npos) {
      flag.name = argument.substr(0, equals);
      flag.separator = "=";
      value = argument.substr(equals + 1);
    } else if (!argument.empty() && argument.front() == '-' && i + 1 < arguments.size()) {
      flag.name = argument;
      flag.separator = " ";
      value = arguments[i + 1];
    } else {
      continue;
    }
    const std::string normal = Normal(flag.name);
    if (IsOneOf(normal, kTotalNames)) flags.total_is_fixed = true;
    if (!absl::SimpleAtoi(value, &flag.value) || flag.value < 1) continue;
    // The last one wins, as it does in argparse.
    if (IsOneOf(normal, kBatchNames)) {
      flags.batch = flag;
      if (normal == "device_batch_size") flags.total_is_fixed = true;
    } else if (IsOneOf(normal, kAccumulationNames)) {
      flags.accumulation = flag;
    } else if (IsOneOf(normal, kEvaluationNames)) {
      flags.evaluation_batch = flag;
    }
  }
  return flags;
}

}  // namespace oomtrace
