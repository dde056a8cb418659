#include "analyzer/advise/forward_modules.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

using Shape = std::vector<int64_t>;

// Of numbers whose dtype is not known, and of what an embedding makes of indices.
constexpr double kElementBytes = 4;

double Elements(const Shape& shape) {
  double n = 1;
  for (const int64_t size : shape) n *= static_cast<double>(size);
  return n;
}

// "transformer.h.7.mlp" → {"transformer.h", 7}
bool BlockOf(const std::string& path, std::string& list, int64_t& index) {
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  std::string prefix;
  for (const std::string& part : parts) {
    if (absl::SimpleAtoi(part, &index)) {
      list = prefix;
      return true;
    }
    prefix += prefix.empty() ? part : "." + part;
  }
  return false;
}

// Of a model's modules; without a model, of all.
bool IsOf(const Models& models, const Module& module, uint64_t root) {
  return root == 0 || models.RootOf(module.root) == root;
}

// Modules that call no others, in the order in which the model lists them. A model of one layer is that layer.
std::vector<const Module*> Leaves(const Timeline& t, const Models& models, uint64_t root) {
  std::vector<const Module*> leaves;
  std::set<std::string> parents;
  for (const Module& module : t.modules) {
    if (!IsOf(models, module, root)) continue;
    const std::string path = WithoutWrappers(module.path);
    if (!path.empty()) parents.insert("");
    for (size_t dot = path.rfind('.'); dot != std::string::npos; dot = dot == 0 ? dot : path.rfind('.', dot - 1))
      parents.insert(path.substr(0, dot));
  }
  std::set<std::string> seen;
  for (const Module& module : t.modules) {
    const std::string path = WithoutWrappers(module.path);
    if (IsOf(models, module, root) && !parents.contains(path) && seen.insert(path).second) leaves.push_back(&module);
  }
  return leaves;
}

// Shapes of the weights of a model's modules, by path; without a model those of all, and of a path that two models have
// none.
std::map<std::string, Shape> Weights(const Timeline& t, uint64_t root) {
  constexpr absl::string_view kWeight = "weight";
  std::map<std::string, Shape> weights;
  std::map<std::string, uint64_t> owner;
  for (const Role& role : t.roles) {
    if (role.category != Category::kParameter || role.buffer || role.tensor < 0) continue;
    if (role.owner == 0 || (root != 0 && role.owner != root)) continue;
    const std::string name = WithoutWrappers(role.name);
    if (name != kWeight && !absl::EndsWith(name, absl::StrCat(".", kWeight))) continue;
    const size_t dot = name.rfind('.');
    const std::string path = dot == std::string::npos ? "" : name.substr(0, dot);
    Shape& shape = weights[path];
    const bool clash = root == 0 && owner.try_emplace(path, role.owner).first->second != role.owner;
    shape = clash ? Shape() : t.layouts[t.tensors[static_cast<size_t>(role.tensor)].layout].shape;
  }
  return weights;
}

// The tensor that goes into a layer.
struct Flow {
  double bytes = 0;
  double features = 0;  // channels of maps, width of vectors; 0: not known
  double element = kElementBytes;
};

Flow FlowOf(int64_t bytes, const Shape& shape) {
  if (shape.empty()) return {static_cast<double>(bytes), 0, kElementBytes};
  return {static_cast<double>(bytes), static_cast<double>(shape.size() == 4 ? shape[1] : shape.back()),
          static_cast<double>(bytes) / std::max(1.0, Elements(shape))};
}

bool IsPool(const Module& module) {
  return absl::StrContains(module.type, "MaxPool") || absl::StrContains(module.type, "AvgPool");
}

// What leaf modules will make, in their order, by their kinds: from the size of what flows in, a layer with weights
// goes on to that of its outputs. Strides are not known, and guessed by habit.
std::vector<double> MadeBy(const Timeline& t, const Models& models, const std::vector<const Module*>& leaves,
                           uint64_t root, Flow now, double batch) {
  const std::map<std::string, Shape> weights = Weights(t, root);
  std::vector<double> made;
  bool flat = false;
  const bool pools = std::count_if(t.modules.begin(), t.modules.end(), [&](const Module& m) {
                       return IsOf(models, m, root) && IsPool(m) && !absl::StrContains(m.type, "Adaptive");
                     }) > 1;
  for (const Module* module : leaves) {
    const std::string& type = module->type;
    const auto weight = weights.find(WithoutWrappers(module->path));
    const bool shaped = weight != weights.end() && weight->second.size() > 1;
    const auto outputs = static_cast<double>(shaped ? weight->second[0] : 0);
    if (absl::StrContains(type, "Flatten")) {
      flat = true;
      continue;
    }
    if (absl::StrContains(type, "Identity") || absl::StrContains(type, "Embedding")) continue;
    if (absl::StrContains(type, "Adaptive")) {
      now.bytes /= 4;  // mostly to one value a map, and never to more than it has
    } else if (IsPool(*module)) {
      // By default a window of two or more moves by its own width, along each side.
      now.bytes /= absl::StrContains(type, "1d") ? 2 : absl::StrContains(type, "3d") ? 8 : 4;
    } else if (absl::StrContains(type, "Linear") && shaped) {
      if (flat) {
        now.bytes = batch * outputs * now.element;
      } else if (now.features > 0) {
        now.bytes *= outputs / now.features;
      }
      now.features = outputs;
    } else if (absl::StrContains(type, "Conv") && !absl::StrContains(type, "Transpose") && shaped) {
      // Where no pooling makes the maps smaller, the convolutions that double the channels do, to a quarter: half of
      // that is counted on.
      const double growth = now.features > 0 ? outputs / now.features : 1;
      now.bytes *= growth >= 2 && !pools ? growth / 2 : growth;
      now.features = outputs;
    } else if (absl::StrContains(type, "Conv")) {
      now.bytes *= 4;  // an upsampling one doubles each side
    }
    made.push_back(now.bytes);
  }
  return made;
}

// What flows into a model that nobody has called yet: the batch or, where its first layer takes no such thing, what the
// model in work has made last; else a vector for each sample.
Flow InputOf(const Timeline& t, uint64_t root, const std::vector<const Module*>& leaves, const Batch& batch,
             const Flow& last) {
  const std::map<std::string, Shape> weights = Weights(t, root);
  const Flow input{Elements(batch.input) * kElementBytes, FlowOf(0, batch.input).features, kElementBytes};
  for (const Module* module : leaves) {
    const auto weight = weights.find(WithoutWrappers(module->path));
    if (weight == weights.end() || weight->second.size() < 2) continue;
    const Shape& shape = weight->second;
    const auto inputs = static_cast<double>(shape[1]);
    if (absl::StrContains(module->type, "Embedding"))
      return {std::max(Elements(batch.input), static_cast<double>(batch.size)) * inputs * kElementBytes, inputs,
              kElementBytes};
    if (!batch.input.empty() && input.features == inputs) return input;
    if (last.features == inputs) return last;
    if (shape.size() > 2) return std::max(input.bytes, last.bytes) == last.bytes ? last : input;
    return {static_cast<double>(batch.size) * inputs * kElementBytes, inputs, kElementBytes};
  }
  return last;
}

// The identities of the models that were called in (begin, moment].
std::set<uint64_t> CalledSince(const Facts& facts, const Models& models, int64_t begin) {
  const Timeline& t = *facts.timeline;
  std::set<uint64_t> called = {models.RootOf(t.stacks[facts.oom->stack].root_module)};
  for (auto tensor = t.tensors.rbegin(); tensor != t.tensors.rend() && tensor->born > begin; ++tensor) {
    if (tensor->born <= facts.moment) called.insert(models.RootOf(t.stacks[tensor->stack].root_module));
  }
  return called;
}

bool IsSecondCopy(const Timeline& t, const Model& model) {
  return std::any_of(model.parameters.begin(), model.parameters.end(),
                     [&](size_t i) { return t.tensors[i].category == Category::kSecondCopy; });
}

}  // namespace

bool ModuleList::Holds(const std::string& module, int64_t& index) const {
  std::string list;
  return !path.empty() && BlockOf(module, list, index) && list == path;
}

ModuleList LongestList(const Timeline& timeline, const ModelInWork& model) {
  std::map<std::string, std::set<int64_t>> lists;
  std::string list;
  int64_t index = 0;
  for (const Module& module : timeline.modules) {
    if (IsOf(model.models, module, model.root) && BlockOf(WithoutWrappers(module.path), list, index))
      lists[list].insert(index);
  }
  ModuleList longest;
  for (const auto& [path, members] : lists) {
    if (!path.empty() && members.size() > longest.size) longest = {path, members.size()};
  }
  return longest;
}

bool ModelInWork::Made(const Tensor& tensor) const {
  const uint64_t module = timeline->stacks[tensor.stack].root_module;
  return root == 0 || module == 0 || models.RootOf(module) == root;
}

ModelInWork FindModelInWork(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  ModelInWork model{0, Models(t), &t};
  model.root = model.models.RootOf(t.stacks[facts.oom->stack].root_module);
  for (auto tensor = t.tensors.rbegin(); tensor != t.tensors.rend() && model.root == 0; ++tensor) {
    if (tensor->born <= facts.moment && !tensor->backward)
      model.root = model.models.RootOf(t.stacks[tensor->stack].root_module);
  }
  return model;
}

double RestByLeaves(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const ModelInWork& model,
                    int64_t begin) {
  const Timeline& t = *facts.timeline;
  const std::vector<const Module*> leaves = Leaves(t, model.models, model.root);
  std::map<std::string, size_t> position;
  for (size_t i = 0; i < leaves.size(); ++i) position[WithoutWrappers(leaves[i]->path)] = i;
  const ModulePaths paths(t);
  size_t reached = 0;
  bool any = false;
  int64_t made = 0, kept = 0, last = 0;
  Shape last_shape;
  const auto visit = [&](const std::string& module, int64_t bytes, uint32_t layout, bool lives) {
    const auto at = position.find(module);
    if (at == position.end()) return;
    made += bytes;
    kept += lives ? bytes : 0;
    if (any && at->second < reached) return;
    any = true;
    if (at->second > reached || bytes >= last) {
      last = bytes;
      last_shape = t.layouts[layout].shape;
    }
    reached = at->second;
  };
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > facts.moment) break;
    if (tensor.born < begin || tensor.device != t.device || !carriers.Carries(tensor) || !model.Made(tensor)) continue;
    if (t.stacks[tensor.stack].module != 0)
      visit(tensor.module.str(), tensor.bytes, tensor.layout, tensor.died > facts.moment);
  }
  const OutOfMemory& oom = *facts.oom;
  if (oom.layout != 0 && t.stacks[oom.stack].module != 0 && carriers.Carries(t.layouts[oom.layout].shape))
    visit(paths.Path(t.stacks[oom.stack].module), facts.refused, oom.layout, true);
  if (!any || made == 0) return -1;
  const std::vector<const Module*> rest(leaves.begin() + static_cast<ptrdiff_t>(reached) + 1, leaves.end());
  const double share =
      facts.oom->phase == PhaseKind::kEvaluation ? 1 : static_cast<double>(kept) / static_cast<double>(made);
  double sum = 0;
  for (const double bytes :
       MadeBy(t, model.models, rest, model.root, FlowOf(last, last_shape), static_cast<double>(batch.size)))
    sum += bytes;
  return share * sum;
}

std::vector<int64_t> MadeByModelsToCome(const Facts& facts, const Batch& batch, const ModelInWork& model) {
  const Timeline& t = *facts.timeline;
  std::vector<int64_t> made;
  if (model.root == 0) return made;
  int64_t begin = 0;  // of the micro-batch
  for (const BackwardPass& pass : t.backward_passes) begin = pass.end <= facts.moment ? pass.end : begin;
  const std::set<uint64_t> called = CalledSince(facts, model.models, begin);
  const std::set<uint64_t> ever = CalledSince(facts, model.models, 0);
  std::vector<const Model*> counted;
  for (const uint64_t root : called) {
    if (const auto found = model.models.by_root().find(root); found != model.models.by_root().end())
      counted.push_back(&found->second);
  }
  const OutOfMemory& oom = *facts.oom;
  const Flow last = oom.layout != 0 ? FlowOf(facts.refused, t.layouts[oom.layout].shape) : Flow();
  for (const auto& [root, other] : model.models.by_root()) {
    if ((begin > 0 && !ever.contains(root)) || IsSecondCopy(t, other)) continue;
    const Model* model_to_come = &other;
    const auto shares = [&](const Model* known) { return Models::Share(*known, *model_to_come); };
    if (std::any_of(counted.begin(), counted.end(), shares)) continue;
    counted.push_back(model_to_come);
    const std::vector<const Module*> leaves = Leaves(t, model.models, root);
    const Flow flow = InputOf(t, root, leaves, batch, last);
    for (const double bytes : MadeBy(t, model.models, leaves, root, flow, static_cast<double>(batch.size))) {
      if (bytes >= 1) made.push_back(static_cast<int64_t>(bytes));
    }
  }
  return made;
}

}  // namespace oomtrace
