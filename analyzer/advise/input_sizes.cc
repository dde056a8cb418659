#include "analyzer/advise/input_sizes.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Of so many batches of random sizes the next one is with 19 in 20 no larger than the largest.
constexpr size_t kEnoughBatches = 20;

}  // namespace

std::string IfNoLargerInput(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  using MicroBatch = std::pair<int64_t, int32_t>;                  // step, and number within it
  std::map<uint32_t, std::map<MicroBatch, const Layout*>> inputs;  // the largest of each, by the line where they arrive
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > facts.moment) break;
    const Layout& layout = t.layouts[tensor.layout];
    const bool evaluation = tensor.phase == PhaseKind::kEvaluation && tensor.born > t.first_training_forward;
    if (tensor.category != Category::kInput || tensor.device != t.device || evaluation || layout.shape.size() < 2)
      continue;
    const Layout*& largest = inputs[tensor.stack][{tensor.step, tensor.micro_batch}];
    if (largest == nullptr || layout.bytes > largest->bytes) largest = &layout;
  }
  for (const auto& [stack, batches] : inputs) {
    if (stack == 0 || batches.size() < 2 || batches.size() >= kEnoughBatches) continue;
    std::set<std::vector<int64_t>> samples;  // their shapes
    const Layout *smallest = batches.begin()->second, *largest = smallest;
    for (const auto& [batch, layout] : batches) {
      samples.emplace(layout->shape.begin() + 1, layout->shape.end());
      if (layout->bytes < smallest->bytes) smallest = layout;
      if (layout->bytes > largest->bytes) largest = layout;
    }
    if (samples.size() < 2 || smallest->shape.size() != largest->shape.size()) continue;
    return absl::StrCat("if no batch to come is larger than those on record, whose inputs vary: ",
                        Shape(smallest->shape, ""), " to ", Shape(largest->shape, ""));
  }
  return "";
}

}  // namespace oomtrace
