#include "analyzer/attribute/batch_growth.h"

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace oomtrace {
namespace {

constexpr size_t kFewestTensors = 8;  // of one statement: fewer show no trend

class Sizes {
 public:
  void Add(uint32_t stack, int64_t bytes) {
    const auto [entry, added] = index_.try_emplace(stack, of_stack_.size());
    if (added) of_stack_.emplace_back();
    of_stack_[entry->second].push_back(bytes);
  }

  bool Grow() const {
    size_t known = 0, growing = 0;
    bool first = false;
    for (const std::vector<int64_t>& bytes : of_stack_) {  // in order of their first tensors
      if (bytes.size() < kFewestTensors) continue;
      // A statement may make several tensors: the largest of each third of the time.
      const auto third = static_cast<ptrdiff_t>(bytes.size() / 3);
      const int64_t early = *std::max_element(bytes.begin(), bytes.begin() + third);
      const int64_t middle = *std::max_element(bytes.begin() + third, bytes.end() - third);
      const bool grows = *std::max_element(bytes.end() - third, bytes.end()) > middle && middle > early;
      if (known == 0) first = grows;
      ++known;
      growing += grows ? 1 : 0;
    }
    return first && 2 * growing >= known;
  }

 private:
  absl::flat_hash_map<uint32_t, size_t> index_;
  std::vector<std::vector<int64_t>> of_stack_;
};

}  // namespace

bool BatchGrows(const Timeline& timeline, int64_t begin, int64_t end) {
  Sizes in_modules, in_forward, from_host;
  bool modules = false;
  const auto first = std::lower_bound(timeline.tensors.begin(), timeline.tensors.end(), begin,
                                      [](const Tensor& tensor, int64_t time) { return tensor.born < time; });
  for (auto tensor = first; tensor != timeline.tensors.end() && tensor->born <= end; ++tensor) {
    if (tensor->device != timeline.device || tensor->layout == 0) continue;
    if (tensor->host_copied) from_host.Add(tensor->stack, tensor->bytes);
    if (tensor->phase != PhaseKind::kForward) continue;
    in_forward.Add(tensor->stack, tensor->bytes);
    if (timeline.stacks[tensor->stack].module == 0) continue;
    modules = true;
    in_modules.Add(tensor->stack, tensor->bytes);
  }
  return modules ? in_modules.Grow() : in_forward.Grow() || from_host.Grow();
}

}  // namespace oomtrace
