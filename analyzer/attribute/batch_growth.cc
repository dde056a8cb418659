#include "analyzer/attribute/batch_growth.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr size_t kFewestTensors = 8;  // of one statement: fewer show no trend

using Line = std::pair<std::string, int64_t>;  // of the program: file and number

class Sizes {
 public:
  void Add(const Tensor& tensor, Line line) {
    const auto [entry, added] = index_.try_emplace(tensor.stack, statements_.size());
    if (added) statements_.push_back({std::move(line), {}, {}});
    Statement& statement = statements_[entry->second];
    statement.bytes.push_back(tensor.bytes);
    if (statement.steps.empty() || statement.last_step != tensor.step) statement.steps.push_back(0);
    statement.steps.back() += tensor.bytes;
    statement.last_step = tensor.step;
  }

  bool Knows(uint32_t stack) const { return index_.contains(stack); }

  double Growth() const {
    // A recurrent layer makes its first state anew each time, which is as large as ever: a line grows with any of its
    // statements.
    std::vector<std::pair<Line, double>> lines;  // in order of their first tensors
    for (const Statement& statement : statements_) {
      if (statement.bytes.size() < kFewestTensors) continue;
      // Without steps to count by: tensor by tensor.
      const double growth = GrowthOf(statement.steps.size() < kFewestTensors ? statement.bytes : statement.steps);
      const auto known =
          std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line.first == statement.line; });
      if (known == lines.end()) {
        lines.emplace_back(statement.line, growth);
      } else {
        known->second = std::max(known->second, growth);
      }
    }
    const auto growing = static_cast<size_t>(
        std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.second > 1; }));
    return !lines.empty() && 2 * growing >= lines.size() ? lines.front().second : 1;
  }

 private:
  struct Statement {
    Line line;
    std::vector<int64_t> bytes;  // of each tensor
    std::vector<int64_t> steps;  // of all tensors of each step that made any
    int64_t last_step = 0;
  };

  // A statement may make several tensors: the largest of each third of the time.
  static double GrowthOf(const std::vector<int64_t>& bytes) {
    const auto third = static_cast<ptrdiff_t>(bytes.size() / 3);
    const int64_t early = *std::max_element(bytes.begin(), bytes.begin() + third);
    const int64_t middle = *std::max_element(bytes.begin() + third, bytes.end() - third);
    const int64_t late = *std::max_element(bytes.end() - third, bytes.end());
    return late > middle && middle > early
               ? static_cast<double>(late) / static_cast<double>(std::max<int64_t>(1, early))
               : 1;
  }

  absl::flat_hash_map<uint32_t, size_t> index_;
  std::vector<Statement> statements_;
};

Line LineOf(const Timeline& timeline, uint32_t stack) {
  const Frame* frame = UserFrame(timeline, stack);
  return frame == nullptr ? Line() : Line(frame->file, frame->line);
}

}  // namespace

double BatchGrowth(const Timeline& timeline, int64_t begin, int64_t end) {
  Sizes in_modules, in_forward, from_host;
  bool modules = false;
  const auto add = [&](const Tensor& tensor, Sizes& sizes) {
    sizes.Add(tensor, sizes.Knows(tensor.stack) ? Line() : LineOf(timeline, tensor.stack));
  };
  const auto first = std::lower_bound(timeline.tensors.begin(), timeline.tensors.end(), begin,
                                      [](const Tensor& tensor, int64_t time) { return tensor.born < time; });
  for (auto tensor = first; tensor != timeline.tensors.end() && tensor->born <= end; ++tensor) {
    if (tensor->device != timeline.device || tensor->layout == 0) continue;
    if (tensor->host_copied) add(*tensor, from_host);
    if (tensor->phase != PhaseKind::kForward) continue;
    add(*tensor, in_forward);
    if (timeline.stacks[tensor->stack].module == 0) continue;
    modules = true;
    add(*tensor, in_modules);
  }
  return modules ? in_modules.Growth() : std::max(in_forward.Growth(), from_host.Growth());
}

bool BatchGrows(const Timeline& timeline, int64_t begin, int64_t end) { return BatchGrowth(timeline, begin, end) > 1; }

}  // namespace oomtrace
