#include "analyzer/attribute/copies.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "analyzer/attribute/stack_facts.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr double kSameModel = 0.9;  // of a module's elements that are also another's: heads and wrappers may differ
constexpr double kMostOfModel = 0.5;
// At a time, of one line: with more it is a history, of gradients maybe as well as of weights.
constexpr int64_t kMostCopies = 3;
constexpr size_t kFewestTensors = 2;  // of one line: one alone may be anything

using Shape = std::vector<int64_t>;
using Members = std::vector<size_t>;  // indices into Timeline::tensors

int64_t Elements(const Shape& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// How many tensors there are of each shape.
class Shapes {
 public:
  Shapes(const Timeline& timeline, const Members& members) {
    for (const size_t i : members) Add(timeline.layouts[timeline.tensors[i].layout].shape);
  }

  void Add(const Shape& shape) {
    ++counts_[shape];
    elements_ += Elements(shape);
  }
  bool Contains(const Shape& shape) const { return counts_.contains(shape); }
  int64_t elements() const { return elements_; }

  // Elements in tensors that both have, each as often as the one that has fewer of that shape.
  int64_t Common(const Shapes& other) const {
    int64_t common = 0;
    for (const auto& [shape, count] : counts_) {
      const auto found = other.counts_.find(shape);
      if (found != other.counts_.end()) common += std::min(count, found->second) * Elements(shape);
    }
    return common;
  }

 private:
  std::map<Shape, int64_t> counts_;
  int64_t elements_ = 0;
};

bool AtLeast(int64_t part, double share, int64_t whole) {
  return whole > 0 && static_cast<double>(part) >= share * static_cast<double>(whole);
}

class CopyFinder {
 public:
  explicit CopyFinder(Timeline* timeline) : timeline_(*timeline), facts_(FactsOfStacks(*timeline)) { ReadRoles(); }

  void Mark() {
    for (const auto& [owner, members] : owned_) {
      // Where nothing is seen to train, each may be the one that is (torch.func, a hand-written update).
      if (trained_.empty() || IsTrained(members)) trained_models_.emplace_back(timeline_, members);
    }
    if (trained_models_.empty()) return;
    if (!trained_.empty()) MarkUntrainedModels();
    MarkUnclaimed();
  }

 private:
  void ReadRoles();
  void MarkUntrainedModels();
  void MarkUnclaimed();
  bool IsTrained(const Members& members) const {
    return std::any_of(members.begin(), members.end(), [&](size_t i) { return trained_.contains(i); });
  }
  Members LiveAmong(const Members& members) const {
    Members live;
    for (const size_t i : members) {
      const Tensor& tensor = timeline_.tensors[i];
      if (tensor.born <= moment_ && tensor.died > moment_) live.push_back(i);
    }
    return live;
  }
  const Shape& ShapeOf(const Tensor& tensor) const { return timeline_.layouts[tensor.layout].shape; }
  bool IsWeightShaped(const Tensor& tensor) const {
    return std::any_of(trained_models_.begin(), trained_models_.end(),
                       [&](const Shapes& model) { return model.Contains(ShapeOf(tensor)); });
  }

  Timeline& timeline_;
  std::vector<StackFacts> facts_;
  int64_t moment_ = MomentOfInterest(timeline_);
  std::map<uint64_t, Members> owned_;  // parameters and buffers, by the root module that named them
  absl::flat_hash_set<size_t> trained_;
  absl::flat_hash_set<size_t> claimed_;
  std::vector<Shapes> trained_models_;
};

void CopyFinder::ReadRoles() {
  std::set<uint64_t> optimizers;
  for (const Optimizer& optimizer : timeline_.optimizers) optimizers.insert(optimizer.identity);
  std::map<uint64_t, std::set<size_t>> owned;
  for (const Role& role : timeline_.roles) {
    if (role.tensor < 0) continue;
    const auto tensor = static_cast<size_t>(role.tensor);
    if (role.bytes > timeline_.tensors[tensor].bytes) continue;
    claimed_.insert(tensor);
    if (role.category != Category::kParameter || timeline_.tensors[tensor].layout == 0) continue;
    if (optimizers.contains(role.owner)) {
      trained_.insert(tensor);
    } else {
      owned[role.owner].insert(tensor);
    }
  }
  for (const auto& [owner, members] : owned) owned_[owner].assign(members.begin(), members.end());
}

void CopyFinder::MarkUntrainedModels() {
  absl::flat_hash_set<size_t> of_trained;  // a part of a model may have been named by itself
  for (const auto& [owner, members] : owned_) {
    if (IsTrained(members)) of_trained.insert(members.begin(), members.end());
  }
  for (const auto& [owner, members] : owned_) {
    if (IsTrained(members)) continue;
    const Shapes shapes(timeline_, members);
    const bool copy = std::any_of(trained_models_.begin(), trained_models_.end(), [&](const Shapes& model) {
      return AtLeast(shapes.Common(model), kSameModel, shapes.elements()) &&
             AtLeast(shapes.Common(model), kSameModel, model.elements());
    });
    for (const size_t i : members) {
      if (copy && !of_trained.contains(i)) timeline_.tensors[i].category = Category::kSecondCopy;
    }
  }
}

void CopyFinder::MarkUnclaimed() {
  std::map<std::pair<std::string, int64_t>, Members> by_line;  // file and line
  for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
    Tensor& tensor = timeline_.tensors[i];
    const bool outside = tensor.phase == PhaseKind::kSetUp || tensor.phase == PhaseKind::kBetweenSteps;
    const bool open = tensor.category == Category::kUnknown || tensor.category == Category::kParameter;
    if (!outside || !open || claimed_.contains(i) || !timeline_.layouts[tensor.layout].has_shape() ||
        !IsWeightShaped(tensor))
      continue;
    if (facts_[tensor.stack].copies_object) {
      tensor.category = Category::kSecondCopy;
    } else if (const Frame* line = UserFrame(timeline_, tensor.stack);
               line != nullptr && tensor.category == Category::kUnknown) {
      by_line[{line->file, line->line}].push_back(i);
    }
  }
  for (const auto& [line, members] : by_line) {
    if (members.size() < kFewestTensors) continue;
    const Shapes shapes(timeline_, members), live(timeline_, LiveAmong(members));
    const bool copy = std::any_of(trained_models_.begin(), trained_models_.end(), [&](const Shapes& model) {
      return AtLeast(shapes.Common(model), kMostOfModel, model.elements()) &&
             live.elements() <= kMostCopies * model.elements();
    });
    for (const size_t i : members) {
      if (copy) timeline_.tensors[i].category = Category::kSecondCopy;
    }
  }
}

}  // namespace

void MarkSecondCopies(Timeline* timeline) { CopyFinder(timeline).Mark(); }

}  // namespace oomtrace
