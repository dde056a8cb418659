#include "analyzer/diagnose/untrained.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "analyzer/timeline/models.h"

namespace oomtrace {
namespace {

// Of gradients that no optimizer owns the trace has the parameter's name: the networks that have one of that name.
std::map<size_t, uint64_t> LoneGradients(const Timeline& t, const Models& models) {
  std::map<std::pair<std::string, int64_t>, uint64_t> root_of;  // by name and bytes of the parameter
  for (const Role& role : t.roles) {
    if (role.category == Category::kParameter && models.Untrained(role.owner))
      root_of[{role.name, role.bytes}] = models.RootOf(role.owner);
  }
  std::map<size_t, uint64_t> lone;
  for (const Role& role : t.roles) {
    if (role.category != Category::kGradient || role.owner != 0 || role.tensor < 0) continue;
    const auto root = root_of.find({role.name, role.bytes});
    if (root != root_of.end()) lone[static_cast<size_t>(role.tensor)] = root->second;
  }
  return lone;
}

// Adds up what lives because of the networks' forwards and backwards, and notes which networks those are.
void FindLiving(const Facts& facts, const Models& models, Untrained& untrained) {
  const Timeline& t = *facts.timeline;
  const std::map<size_t, uint64_t> gradients = LoneGradients(t, models);
  int64_t largest = 0;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (const auto gradient = gradients.find(i); gradient != gradients.end()) {
      untrained.gradients += tensor.bytes;
      untrained.roots.insert(gradient->second);
    }
    const uint64_t root = models.RootOf(t.stacks[tensor.stack].root_module);
    if (tensor.category != Category::kActivation || !tensor.grad_mode || !models.Untrained(root)) continue;
    untrained.roots.insert(root);
    untrained.activations += tensor.bytes;
    if (tensor.bytes <= largest) continue;
    largest = tensor.bytes;
    untrained.stack = tensor.stack;
  }
}

bool ComesFirst(const Facts& facts, const Models& models) {
  if (models.trains_others()) return false;
  const Timeline& t = *facts.timeline;
  int64_t begin = 0;  // of the micro-batch
  for (const BackwardPass& pass : t.backward_passes) begin = pass.end <= facts.moment ? pass.end : begin;
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > facts.moment) break;
    if (tensor.born <= begin || !tensor.grad_mode) continue;
    const uint64_t root = models.RootOf(t.stacks[tensor.stack].root_module);
    if (root != 0) return models.Untrained(root);
  }
  return models.Untrained(t.stacks[facts.oom->stack].root_module);
}

}  // namespace

Untrained FindUntrained(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  const Models models(t);
  Untrained untrained;
  FindLiving(facts, models, untrained);
  int64_t largest = 0;
  for (const uint64_t root : untrained.roots) {
    const int64_t bytes = models.by_root().at(root).bytes;
    untrained.parameters += bytes;
    if (bytes <= largest) continue;
    largest = bytes;
    for (const Module& module : t.modules) {
      if (module.identity == root && module.root == root) untrained.type = module.type;
    }
  }
  const bool backward_ended = std::any_of(t.backward_passes.begin(), t.backward_passes.end(),
                                          [&](const BackwardPass& pass) { return pass.end <= facts.moment; });
  untrained.gets_gradients = untrained.gradients > 0 || (!backward_ended && untrained.activations > 0);
  untrained.found = !untrained.roots.empty();
  untrained.comes_first = untrained.found && facts.oom && ComesFirst(facts, models);
  return untrained;
}

}  // namespace oomtrace
