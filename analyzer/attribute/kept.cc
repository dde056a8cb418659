#include "analyzer/attribute/kept.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "analyzer/attribute/batch_growth.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// What is loaded ahead and what a variable holds until it is assigned again live for one or two.
constexpr int64_t kFewestSteps = 3;
// Tensors of a chain, each one dimension larger than the one before: fewer are sizes that happen to rise.
constexpr size_t kShortestChain = 8;
constexpr size_t kMostChains = 64;  // of one statement at a time: with more, nothing takes another's place

class KeptFinder {
 public:
  explicit KeptFinder(Timeline* timeline) : timeline_(*timeline), statement_of_(SameStatements(*timeline)) {
    const int64_t moment = MomentOfInterest(*timeline);
    steps_ = StepsEndedBy(*timeline, moment);
    ReadRoles();
    ReadHolders();
  }

  void Mark() {
    for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
      Tensor& tensor = timeline_.tensors[i];
      if (!IsOlder(tensor) || !MayBeKept(i)) continue;
      tensor.category = Category::kKept;
      kept_.insert(KindOf(tensor));
    }
    MarkChains();
    for (Tensor& tensor : timeline_.tensors) {
      if (tensor.category != Category::kUnknown) continue;
      if (kept_.contains(KindOf(tensor))) {
        tensor.category = Category::kKept;
      } else if (of_graph_.contains(KindOf(tensor)) && IsOlder(tensor)) {
        tensor.category = Category::kActivation;
      }
    }
  }

 private:
  using Kind = std::pair<uint32_t, uint32_t>;  // statement and layout

  void ReadRoles();
  void ReadHolders();
  void MarkChains();
  bool MayBeKept(size_t index) const;

  Kind KindOf(const Tensor& tensor) const { return {statement_of_[tensor.stack], tensor.layout}; }
  bool InTraining(const Tensor& tensor) const { return tensor.born >= timeline_.first_training_forward; }
  bool IsOlder(const Tensor& tensor) const {
    const int64_t until = tensor.died_step >= 0 ? std::min(tensor.died_step, steps_) : steps_;
    return InTraining(tensor) && until - tensor.step >= kFewestSteps;
  }
  bool Continues(const Tensor& before, const Tensor& after) const;
  bool FollowsBatch(const std::vector<size_t>& chain);

  Timeline& timeline_;
  std::vector<uint32_t> statement_of_;
  int64_t steps_ = 0;             // completed at the moment of the report
  int64_t gradients_asked_ = -1;  // ns: when owners last named gradients
  absl::flat_hash_set<size_t> gradients_;
  absl::flat_hash_set<Kind> named_, of_graph_;
  absl::flat_hash_set<Kind> kept_;
  std::map<std::pair<int64_t, int64_t>, bool> batch_grows_;  // from a step to a step
};

void KeptFinder::ReadRoles() {
  for (const Role& role : timeline_.roles) {
    if (role.category != Category::kGradient) continue;
    gradients_asked_ = std::max(gradients_asked_, role.time);
    // Without an owner it is the gradient of a leaf that nothing trains.
    if (role.tensor >= 0 && role.owner != 0) gradients_.insert(static_cast<size_t>(role.tensor));
  }
}

void KeptFinder::ReadHolders() {
  for (const Tensor& tensor : timeline_.tensors) {
    if (tensor.holder.empty() || tensor.stack == 0) continue;
    // A bare name is a variable, which holds the last one.
    const std::string& holder = tensor.holder.str();
    const bool contains = holder.substr(0, holder.find(" (")).find_first_of("[.") != std::string::npos;
    if (absl::StartsWith(holder, "graph of ")) {
      of_graph_.insert(KindOf(tensor));
    } else if (contains) {
      named_.insert(KindOf(tensor));
    }
  }
}

bool KeptFinder::MayBeKept(size_t index) const {
  const Tensor& tensor = timeline_.tensors[index];
  const Kind kind = KindOf(tensor);
  if (tensor.category == Category::kGradient) return tensor.born < gradients_asked_ && !gradients_.contains(index);
  if (absl::StartsWith(tensor.holder.str(), "graph of ")) return false;
  switch (tensor.category) {
    case Category::kUnknown:
    case Category::kInput:
    case Category::kTemporary:
      return tensor.stack != 0 && (named_.contains(kind) || !of_graph_.contains(kind));
    case Category::kActivation:
      return named_.contains(kind);
    default:
      return false;
  }
}

bool KeptFinder::Continues(const Tensor& before, const Tensor& after) const {
  const Layout& smaller = timeline_.layouts[before.layout];
  const Layout& larger = timeline_.layouts[after.layout];
  if (before.died <= after.born || smaller.dtype != larger.dtype || smaller.shape.size() != larger.shape.size())
    return false;
  int grown = 0;
  for (size_t i = 0; i < smaller.shape.size(); ++i) {
    if (larger.shape[i] < smaller.shape[i]) return false;
    grown += larger.shape[i] > smaller.shape[i] ? 1 : 0;
  }
  return grown == 1;
}

// Whether the batches grew in the same steps: then what a variable holds until the next step grows with them.
bool KeptFinder::FollowsBatch(const std::vector<size_t>& chain) {
  const Tensor& first = timeline_.tensors[chain.front()];
  const Tensor& last = timeline_.tensors[chain.back()];
  const auto [entry, added] = batch_grows_.try_emplace({first.step, last.step}, false);
  if (added) entry->second = BatchGrows(timeline_, first.born, last.born);
  return entry->second;
}

void KeptFinder::MarkChains() {
  std::map<uint32_t, std::vector<std::vector<size_t>>> chains;  // by statement, which may have several at a time
  for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
    const Tensor& tensor = timeline_.tensors[i];
    const bool open = tensor.category == Category::kUnknown || tensor.category == Category::kInput ||
                      tensor.category == Category::kTemporary || tensor.category == Category::kActivation;
    if (!open || tensor.layout == 0 || tensor.stack == 0 || tensor.host_copied || !InTraining(tensor)) continue;
    if (tensor.phase == PhaseKind::kEvaluation) continue;  // what a model generates is told elsewhere
    std::vector<std::vector<size_t>>& of_statement = chains[statement_of_[tensor.stack]];
    if (of_statement.size() > kMostChains) continue;
    const auto continued = std::find_if(
        of_statement.begin(), of_statement.end(),
        [&](const std::vector<size_t>& chain) { return Continues(timeline_.tensors[chain.back()], tensor); });
    if (continued != of_statement.end()) {
      continued->push_back(i);
      continue;
    }
    // One that was not continued while its last tensor lived never will be.
    std::erase_if(of_statement, [&](const std::vector<size_t>& chain) {
      return chain.size() < kShortestChain && timeline_.tensors[chain.back()].died <= tensor.born;
    });
    of_statement.push_back({i});
  }
  for (const auto& [statement, of_statement] : chains) {
    for (const std::vector<size_t>& chain : of_statement) {
      if (chain.size() < kShortestChain || FollowsBatch(chain)) continue;
      for (const size_t i : chain) timeline_.tensors[i].category = Category::kKept;
    }
  }
}

}  // namespace

void MarkKept(Timeline* timeline) {
  if (timeline->steps.size() >= static_cast<size_t>(kFewestSteps)) KeptFinder(timeline).Mark();
}

}  // namespace oomtrace
