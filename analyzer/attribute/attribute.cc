#include "analyzer/attribute/attribute.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "analyzer/attribute/carried.h"
#include "analyzer/attribute/copies.h"
#include "analyzer/attribute/fate.h"
#include "analyzer/attribute/kept.h"
#include "analyzer/attribute/roles.h"
#include "analyzer/attribute/site.h"
#include "analyzer/attribute/stack_facts.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// PyTorch allocates a gradient of its own in this node where it cannot keep the incoming tensor.
constexpr char kAccumulateGrad[] = "AccumulateGrad";

// What the search for holders writes of a tensor that an autograd graph saved (interpose/python/paths.py).
bool IsKeptByGraph(const InternedText& holder) { return absl::StartsWith(holder.str(), "graph of "); }

// Roles and holders are asked for together.
bool OwnersSpokeAtDeath(const Timeline& timeline) {
  const OutOfMemory* death = FatalOutOfMemory(timeline);
  if (death == nullptr) return false;
  const auto after = [&](const auto& said) { return !said.empty() && said.back().time > death->time; };
  return after(timeline.roles) || after(timeline.holders);
}

class Attributor {
 public:
  explicit Attributor(Timeline* timeline) : timeline_(*timeline), facts_(FactsOfStacks(*timeline)), fates_(*timeline) {
    layouts_known_ = std::any_of(timeline->tensors.begin(), timeline->tensors.end(),
                                 [](const Tensor& tensor) { return tensor.layout != 0; });
    const ModulePaths paths(*timeline);
    for (const Stack& stack : timeline->stacks) module_of_stack_.emplace_back() = paths.Path(stack.module);
    ApplyRoles(timeline);
    MarkParametersByStack();
    parameter_layouts_.emplace(*timeline);
    gradients_were_said_ = OwnersSpokeAtDeath(*timeline);
  }

  void Run();

 private:
  void MarkParametersByStack();
  SiteKey KeyOf(const Tensor& tensor) const;
  std::optional<Category> ByPlace(const Tensor& tensor, const Fate& fate) const;
  std::optional<Category> ByFate(const Tensor& tensor, const Fate& fate) const;
  Category ByHabit(const Tensor& tensor, const Fate& fate) const;
  Category UsualInPhase(const Tensor& tensor) const;
  void PairLeavesWithGradients();

  std::optional<Category> OfForward(const Tensor& tensor, const Fate& fate) const;
  std::optional<Category> OfBackward(const Tensor& tensor, const Fate& fate) const;
  std::optional<Category> OfOptimizer(const Tensor& tensor, const Fate& fate) const;
  std::optional<Category> Outside(const Tensor& tensor, const Fate& fate) const;

  const StackFacts& Facts(const Tensor& tensor) const { return facts_[tensor.stack]; }
  const Layout& LayoutOf(const Tensor& tensor) const { return timeline_.layouts[tensor.layout]; }
  bool ParameterShaped(const Tensor& tensor) const { return parameter_layouts_->Contains(timeline_, tensor); }
  // No tensor factory was active: a workspace, an untyped storage.
  bool HasNoLayout(const Tensor& tensor) const { return layouts_known_ && tensor.layout == 0; }
  bool IsInteger(const Tensor& tensor) const;
  bool OutsideModules(const Tensor& tensor) const { return timeline_.stacks[tensor.stack].module == 0; }

  Timeline& timeline_;
  std::vector<StackFacts> facts_;
  bool gradients_were_said_ = false;  // after the death: what then has no role is no gradient that had arrived
  bool layouts_known_ = false;        // without a caching allocator the trace may hold none
  Fates fates_;
  std::vector<InternedText> module_of_stack_;
  std::optional<ParameterLayouts> parameter_layouts_;
  SiteHistory history_;
};

bool Attributor::IsInteger(const Tensor& tensor) const {
  const std::string& dtype = LayoutOf(tensor).dtype;
  return tensor.layout != 0 && (absl::StartsWith(dtype, "int") || absl::StartsWith(dtype, "uint") || dtype == "bool");
}

SiteKey Attributor::KeyOf(const Tensor& tensor) const {
  return {Facts(tensor).site, tensor.layout, tensor.node, tensor.phase};
}

// Modules move or make their parameters under known functions. Owners speak later, and not at all where the process
// died first.
void Attributor::MarkParametersByStack() {
  for (Tensor& tensor : timeline_.tensors) {
    if (tensor.category != Category::kUnknown || HasNoLayout(tensor)) continue;
    const bool outside = tensor.phase == PhaseKind::kSetUp || tensor.phase == PhaseKind::kBetweenSteps;
    if (!outside || !(Facts(tensor).moves_module || Facts(tensor).makes_parameter)) continue;
    const Fate fate = fates_.Of(tensor);
    if (fate.open || fate.saw_forward) tensor.category = Category::kParameter;
  }
}

std::optional<Category> Attributor::ByPlace(const Tensor& tensor, const Fate& fate) const {
  const StackFacts& facts = Facts(tensor);
  if (facts.optimizer_state) return Category::kOptimizerState;
  if (facts.loads || facts.copies_object) return fate.within ? Category::kTemporary : Category::kUnknown;
  if (facts.reduces_gradients && !fate.within) return Category::kGradient;
  if (HasNoLayout(tensor)) return Category::kWorkspace;
  if (tensor.backward && timeline_.strings[tensor.node] == kAccumulateGrad && ParameterShaped(tensor)) {
    return Category::kGradient;
  }
  if (tensor.host_copied && OutsideModules(tensor) && !tensor.backward && !facts.moves_module) {
    return Category::kInput;
  }
  return std::nullopt;
}

std::optional<Category> Attributor::ByFate(const Tensor& tensor, const Fate& fate) const {
  switch (tensor.phase) {
    case PhaseKind::kForward:
      return OfForward(tensor, fate);
    case PhaseKind::kBackward:
      return OfBackward(tensor, fate);
    case PhaseKind::kOptimizerStep:
      return OfOptimizer(tensor, fate);
    case PhaseKind::kEvaluation:
      // With gradients on, an evaluation keeps a graph as a training forward does.
      return tensor.grad_mode && !tensor.inference_mode ? Category::kActivation : Category::kTemporary;
    case PhaseKind::kSetUp:
    case PhaseKind::kBetweenSteps:
      return Outside(tensor, fate);
  }
  return std::nullopt;
}

std::optional<Category> Attributor::OfForward(const Tensor& tensor, const Fate& fate) const {
  if (!fate.decided()) return std::nullopt;
  return fate.within ? Category::kTemporary : Category::kActivation;
}

std::optional<Category> Attributor::OfBackward(const Tensor& tensor, const Fate& fate) const {
  if (!fate.decided()) return std::nullopt;
  if (fate.outlived && ParameterShaped(tensor)) return Category::kGradient;
  // Gradients are on inside a backward where a checkpoint computes its forward again, and where the backward is itself
  // to be differentiated (create_graph).
  if (tensor.grad_mode) return Category::kActivation;
  return fate.within ? Category::kTemporary : Category::kUnknown;
}

std::optional<Category> Attributor::OfOptimizer(const Tensor& tensor, const Fate& fate) const {
  if (!fate.decided()) return std::nullopt;
  return fate.within ? Category::kTemporary : Category::kOptimizerState;
}

std::optional<Category> Attributor::Outside(const Tensor& tensor, const Fate& fate) const {
  if (fate.within) return Category::kTemporary;
  if (Facts(tensor).optimizer_code) return Category::kOptimizerState;
  if (!fate.saw_forward) return fate.open ? std::nullopt : std::optional(Category::kTemporary);
  // Data made on the device: indices and labels for certain; numbers where each step makes its own and drops them.
  if (IsInteger(tensor)) return Category::kInput;
  if (!fate.open && tensor.died_step <= tensor.step + 1) return Category::kInput;
  return std::nullopt;
}

Category Attributor::ByHabit(const Tensor& tensor, const Fate& fate) const {
  if (IsKeptByGraph(tensor.holder)) return Category::kActivation;
  const std::optional<Category> usual = history_.Usual(KeyOf(tensor));
  const Category category = usual ? *usual : UsualInPhase(tensor);
  // Computed, and not given to its parameter yet.
  if (category == Category::kGradient && gradients_were_said_ && !fate.outlived) return Category::kTemporary;
  return category;
}

Category Attributor::UsualInPhase(const Tensor& tensor) const {
  switch (tensor.phase) {
    case PhaseKind::kForward:
      return tensor.grad_mode || Facts(tensor).keeps_graph ? Category::kActivation : Category::kTemporary;
    case PhaseKind::kBackward:
      if (tensor.grad_mode) return Category::kActivation;
      return ParameterShaped(tensor) ? Category::kGradient : Category::kTemporary;
    case PhaseKind::kOptimizerStep:
      return Category::kTemporary;
    default:
      return Category::kUnknown;
  }
}

void Attributor::Run() {
  struct Undecided {
    size_t tensor;
    Fate fate;
  };
  std::vector<Undecided> undecided;
  for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
    Tensor& tensor = timeline_.tensors[i];
    if (tensor.module.empty()) tensor.module = module_of_stack_[tensor.stack];
    if (tensor.module.empty()) tensor.module = module_of_stack_[tensor.forward_stack];
    const Fate fate = fates_.Of(tensor);
    if (tensor.category == Category::kUnknown) {
      std::optional<Category> category = ByPlace(tensor, fate);
      if (!category) category = ByFate(tensor, fate);
      if (!category) {
        undecided.push_back({i, fate});
        continue;
      }
      tensor.category = *category;
    }
    if (fate.decided()) history_.Add(KeyOf(tensor), tensor.category);
  }
  for (const Undecided& entry : undecided) {
    Tensor& tensor = timeline_.tensors[entry.tensor];
    tensor.category = ByHabit(tensor, entry.fate);
  }
  PairLeavesWithGradients();
  MarkSecondCopies(&timeline_);
  MarkCarriedState(&timeline_);
  MarkKept(&timeline_);
}

// Weights that no module and no optimizer holds: what a backward left behind is the gradient of the tensor with the
// same layout that was there before it and is there after it.
void Attributor::PairLeavesWithGradients() {
  absl::flat_hash_map<uint32_t, std::vector<size_t>> left_behind;  // by layout
  for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
    const Tensor& tensor = timeline_.tensors[i];
    if (tensor.category == Category::kUnknown && tensor.phase == PhaseKind::kBackward && tensor.layout != 0) {
      left_behind[tensor.layout].push_back(i);
    }
  }
  if (left_behind.empty()) return;
  // What one statement makes anew in each step is data, whether or not gradients are asked of it.
  std::set<std::pair<uint32_t, uint32_t>> recurring;
  std::map<std::pair<uint32_t, uint32_t>, int64_t> first_step;
  for (const Tensor& tensor : timeline_.tensors) {
    const std::pair statement(Facts(tensor).site, tensor.layout);
    if (first_step.try_emplace(statement, tensor.step).first->second != tensor.step) recurring.insert(statement);
  }
  for (Tensor& leaf : timeline_.tensors) {
    const bool outside = leaf.phase == PhaseKind::kSetUp || leaf.phase == PhaseKind::kBetweenSteps;
    const auto gradients = left_behind.find(leaf.layout);
    if (leaf.category != Category::kUnknown || !outside || gradients == left_behind.end()) continue;
    if (recurring.contains({Facts(leaf).site, leaf.layout})) {
      leaf.category = Category::kInput;
      continue;
    }
    for (const size_t i : gradients->second) {
      Tensor& gradient = timeline_.tensors[i];
      if (gradient.born < leaf.born || gradient.born > leaf.died) continue;
      gradient.category = Category::kGradient;
      leaf.category = Category::kParameter;
    }
  }
}

}  // namespace

void Attribute(Timeline* timeline) { Attributor(timeline).Run(); }

}  // namespace oomtrace
