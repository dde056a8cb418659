#include "analyzer/diagnose/untrained.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace oomtrace {
namespace {

constexpr size_t kMostModels = 12;  // whose choices are tried, 2^n of them

// Bytes of the parameters of each model, by its root's identity.
std::map<uint64_t, int64_t> ParametersByRoot(const Timeline& t, std::map<int64_t, uint64_t>& root_of) {
  std::map<uint64_t, int64_t> bytes;
  for (const Role& role : t.roles) {
    if (role.category != Category::kParameter || role.buffer || role.owner == 0 || role.tensor < 0) continue;
    if (root_of.try_emplace(role.tensor, role.owner).second) bytes[role.owner] += role.bytes;
  }
  return bytes;
}

// The models that together have `bytes`; empty where none or more than one choice has.
std::set<uint64_t> Trained(const std::map<uint64_t, int64_t>& models, int64_t bytes) {
  const std::vector<std::pair<uint64_t, int64_t>> list(models.begin(), models.end());
  std::set<uint64_t> found;
  for (uint32_t choice = 1; choice < (1u << list.size()); ++choice) {
    int64_t sum = 0;
    for (size_t i = 0; i < list.size(); ++i) sum += (choice >> i & 1) != 0 ? list[i].second : 0;
    if (sum != bytes) continue;
    if (!found.empty()) return {};
    for (size_t i = 0; i < list.size(); ++i) {
      if ((choice >> i & 1) != 0) found.insert(list[i].first);
    }
  }
  return found;
}

}  // namespace

Untrained FindUntrained(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  Untrained untrained;
  int64_t in_optimizers = 0;
  std::set<uint64_t> seen;
  for (const Optimizer& optimizer : t.optimizers) {
    if (seen.insert(optimizer.identity).second) in_optimizers += optimizer.parameter_bytes;
  }
  std::map<int64_t, uint64_t> root_of;
  const std::map<uint64_t, int64_t> models = ParametersByRoot(t, root_of);
  if (in_optimizers == 0 || models.size() < 2 || models.size() > kMostModels) return untrained;
  const std::set<uint64_t> trained = Trained(models, in_optimizers);
  if (trained.empty() || trained.size() == models.size()) return untrained;
  int64_t largest_model = 0;
  std::map<uint64_t, std::string> types;
  for (const Module& module : t.modules) {
    if (module.identity == module.root) types[module.identity] = module.type;
  }
  for (const auto& [root, bytes] : models) {
    if (trained.contains(root)) continue;
    untrained.parameters += bytes;
    if (bytes > largest_model) {
      largest_model = bytes;
      untrained.type = types[root];
    }
  }
  for (const Role& role : t.roles) {
    if (role.category != Category::kGradient || role.tensor < 0 || !models.contains(role.owner)) continue;
    const Tensor& tensor = t.tensors[static_cast<size_t>(role.tensor)];
    const bool lives = tensor.born <= facts.moment && tensor.died > facts.moment;
    if (lives && !trained.contains(role.owner)) untrained.gradients += tensor.bytes;
  }
  int64_t largest = 0;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    const uint64_t root = t.stacks[tensor.stack].root_module;
    if (tensor.category != Category::kActivation || !tensor.grad_mode || !models.contains(root) ||
        trained.contains(root)) {
      continue;
    }
    untrained.activations += tensor.bytes;
    if (tensor.bytes > largest) {
      largest = tensor.bytes;
      untrained.stack = tensor.stack;
    }
  }
  const bool backward_ended = std::any_of(t.backward_passes.begin(), t.backward_passes.end(),
                                          [&](const BackwardPass& pass) { return pass.end <= facts.moment; });
  untrained.gets_gradients = untrained.gradients > 0 || (!backward_ended && untrained.activations > 0);
  untrained.found = untrained.gets_gradients || untrained.activations > 0;
  return untrained;
}

}  // namespace oomtrace
