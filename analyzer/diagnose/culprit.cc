#include "analyzer/diagnose/culprit.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/leak_holder.h"
#include "analyzer/diagnose/newly_made.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Of the card: a run that leaves less has hardly fitted.
constexpr double kTightMargin = 0.05;

void SetLayout(const Layout& layout, report::Culprit& culprit) {
  culprit.mutable_shape()->Assign(layout.shape.begin(), layout.shape.end());
  culprit.set_dtype(layout.dtype);
}

std::string ModulePath(const Timeline& timeline, uint32_t stack) {
  if (stack == 0 || stack >= timeline.stacks.size()) return "";
  for (const Module& module : timeline.modules) {
    if (module.identity == timeline.stacks[stack].module) return module.path;
  }
  return "";
}

bool IsUserStack(const Timeline& timeline, uint32_t stack) {
  const Frame* frame = stack < timeline.stacks.size() ? UserFrame(timeline, stack) : nullptr;
  return frame && IsUserFrame(*frame);
}

// What a graph's parts are named by: the module for what a forward keeps, else the line.
std::string OwnerName(const Timeline& timeline, const Tensor& tensor, const std::string& site) {
  switch (tensor.category) {
    case Category::kParameter:
    case Category::kGradient:
    case Category::kOptimizerState:
    case Category::kSecondCopy:
      return "";
    default:
      // What is no tensor is known by what it is: "cuBLAS workspace".
      if (tensor.layout == 0 && !tensor.name.empty()) return tensor.name;
      return tensor.module.empty() ? site : tensor.module;
  }
}

}  // namespace

void SetSite(const Frame& frame, report::Culprit& culprit) {
  culprit.set_file(frame.file);
  culprit.set_line(frame.line);
  culprit.set_function(frame.function);
}

void FillTensorCulprit(const Timeline& timeline, const Tensor& tensor, report::Culprit& culprit) {
  SetSite(SiteOf(timeline, tensor.stack), culprit);
  // A layout far smaller than its block was asked for by another tensor.
  if (2 * timeline.layouts[tensor.layout].bytes >= tensor.bytes || tensor.bytes <= 512)
    SetLayout(timeline.layouts[tensor.layout], culprit);
  const int64_t own = timeline.layouts[tensor.layout].bytes;
  culprit.set_bytes(own < tensor.bytes && 2 * own >= tensor.bytes ? own : tensor.bytes);
  culprit.set_module(tensor.module);
  culprit.set_holder(tensor.holder);
  culprit.set_category(CategoryName(tensor.category));
}

Frame RefusalSite(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  if (!facts.oom) return Frame();
  const uint32_t place = PlaceOf(t, facts.oom->stack, facts.oom->forward_stack);
  if (IsUserStack(t, place)) return SiteOf(t, place);
  for (auto it = t.tensors.rbegin(); it != t.tensors.rend(); ++it) {
    if (it->born <= facts.moment && it->phase == facts.oom->phase && IsUserStack(t, it->stack))
      return SiteOf(t, it->stack);
  }
  return SiteOf(t, facts.oom->stack);
}

report::Culprit FindCulprit(const Facts& facts, const Leak& leak, const KeptOutputs& kept, const Pattern& pattern) {
  const Timeline& t = *facts.timeline;
  report::Culprit culprit;
  if (pattern.name == "gradual_leak" || (!facts.oom && leak.found && leak.boundaries_are_steps)) {
    FillTensorCulprit(t, t.tensors[leak.groups.front().example], culprit);
    culprit.set_holder(HolderOf(facts, leak));
    return culprit;
  }
  if (kept.found) {
    FillTensorCulprit(t, t.tensors[kept.example], culprit);
    SetSite(CallOfModel(t, t.tensors[kept.example].stack), culprit);
    culprit.set_holder(kept.holder);
    return culprit;
  }
  if (pattern.name == "late_allocation") {
    const NewlyMade made = FindNewlyMade(facts);
    if (made.example >= 0 && 2 * made.statement >= made.bytes) {
      FillTensorCulprit(t, t.tensors[static_cast<size_t>(made.example)], culprit);
      // The graph of the forward in work will let go of it by itself.
      if (KeptByGraph(culprit.holder())) culprit.clear_holder();
      return culprit;
    }
  }
  if (!facts.oom) {
    const int64_t margin = facts.available() - facts.peak_reserved;
    if (static_cast<double>(margin) >= kTightMargin * static_cast<double>(facts.device.total())) return culprit;
    const Tensor* largest = nullptr;
    for (const uint32_t i : facts.live) {
      if (!largest || t.tensors[i].bytes > largest->bytes) largest = &t.tensors[i];
    }
    if (largest) FillTensorCulprit(t, *largest, culprit);
    return culprit;
  }
  SetSite(RefusalSite(facts), culprit);
  SetLayout(t.layouts[facts.oom->layout], culprit);
  culprit.set_bytes(facts.refused);
  culprit.set_module(ModulePath(t, PlaceOf(t, facts.oom->stack, facts.oom->forward_stack)));
  switch (facts.oom->phase) {
    case PhaseKind::kForward:
      culprit.set_category(CategoryName(facts.oom->grad_mode ? Category::kActivation : Category::kTemporary));
      break;
    case PhaseKind::kOptimizerStep:
      culprit.set_category(CategoryName(facts.steady ? Category::kTemporary : Category::kOptimizerState));
      break;
    case PhaseKind::kSetUp:
    case PhaseKind::kBetweenSteps:
      culprit.set_category(CategoryName(Category::kUnknown));
      break;
    default:
      culprit.set_category(CategoryName(Category::kTemporary));
  }
  return culprit;
}

std::vector<report::Owner> FindOwners(const Facts& facts, size_t limit) {
  const Timeline& t = *facts.timeline;
  struct Sum {
    int64_t bytes = 0;
    int64_t tensors = 0;
    const Tensor* largest = nullptr;
  };
  std::map<std::tuple<Category, std::string, std::string>, Sum> sums;
  std::map<uint32_t, std::string> sites;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    const uint32_t place = PlaceOf(t, tensor.stack, tensor.forward_stack);
    auto site = sites.find(place);
    if (site == sites.end()) site = sites.emplace(place, ShortSite(SiteOf(t, place))).first;
    const std::string name = OwnerName(t, tensor, site->second);
    // The states of the model are one owner each, whichever line made them.
    const bool state = name.empty();
    Sum& sum = sums[{tensor.category, name, state ? "" : site->second}];
    sum.bytes += tensor.bytes;
    ++sum.tensors;
    if (!sum.largest || tensor.bytes > sum.largest->bytes) sum.largest = &tensor;
  }
  std::vector<report::Owner> owners;
  for (const auto& [key, sum] : sums) {
    report::Owner owner;
    owner.set_category(CategoryName(std::get<0>(key)));
    owner.set_name(std::get<1>(key).empty() ? sum.largest->name : std::get<1>(key));
    owner.set_bytes(sum.bytes);
    owner.set_tensors(sum.tensors);
    const Layout& layout = t.layouts[sum.largest->layout];
    owner.mutable_shape()->Assign(layout.shape.begin(), layout.shape.end());
    owner.set_dtype(layout.dtype);
    owner.set_site(sites[PlaceOf(t, sum.largest->stack, sum.largest->forward_stack)]);
    owners.push_back(std::move(owner));
  }
  std::stable_sort(owners.begin(), owners.end(),
                   [](const report::Owner& a, const report::Owner& b) { return a.bytes() > b.bytes(); });
  if (owners.size() > limit) owners.resize(limit);
  return owners;
}

}  // namespace oomtrace
