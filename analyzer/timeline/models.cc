#include "analyzer/timeline/models.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace oomtrace {

Models::Models(const Timeline& timeline) {
  std::set<uint64_t> optimizers;
  for (const Optimizer& optimizer : timeline.optimizers) optimizers.insert(optimizer.identity);
  std::set<size_t> trained;
  for (const Role& role : timeline.roles) {
    if (role.category != Category::kParameter || role.tensor < 0 || role.owner == 0) continue;
    const auto tensor = static_cast<size_t>(role.tensor);
    if (optimizers.contains(role.owner)) {
      trained.insert(tensor);
      continue;
    }
    Model& model = by_root_[role.owner];
    if (!role.buffer && model.parameters.insert(tensor).second) model.bytes += role.bytes;
  }
  std::erase_if(by_root_, [](const auto& entry) { return entry.second.parameters.empty(); });
  JoinParts();
  for (auto& [root, model] : by_root_) {
    model.trained = std::any_of(model.parameters.begin(), model.parameters.end(),
                                [&](size_t tensor) { return trained.contains(tensor); });
    any_trained_ = any_trained_ || model.trained;
    for (const size_t tensor : model.parameters) trained.erase(tensor);
  }
  trains_others_ = !trained.empty();
  for (const Module& module : timeline.modules) {
    if (by_root_.contains(module.root)) root_of_.try_emplace(module.identity, module.root);
  }
}

void Models::JoinParts() {
  std::vector<std::pair<size_t, uint64_t>> by_size;
  for (const auto& [root, model] : by_root_) by_size.emplace_back(model.parameters.size(), root);
  std::sort(by_size.begin(), by_size.end());
  for (size_t i = 0; i < by_size.size(); ++i) {
    const auto part = by_root_.find(by_size[i].second);
    for (size_t j = by_size.size(); --j > i;) {
      const std::set<size_t>& whole = by_root_.at(by_size[j].second).parameters;
      const std::set<size_t>& parameters = part->second.parameters;
      if (!std::includes(whole.begin(), whole.end(), parameters.begin(), parameters.end())) continue;
      root_of_[part->first] = by_size[j].second;
      by_root_.erase(part);
      break;
    }
  }
}

uint64_t Models::RootOf(uint64_t module) const {
  if (by_root_.contains(module)) return module;
  const auto found = root_of_.find(module);
  return found == root_of_.end() ? 0 : found->second;
}

bool Models::Untrained(uint64_t module) const {
  const auto model = by_root_.find(RootOf(module));
  return model != by_root_.end() && any_trained_ && !model->second.trained;
}

bool Models::Share(const Model& a, const Model& b) {
  return std::any_of(a.parameters.begin(), a.parameters.end(),
                     [&](size_t tensor) { return b.parameters.contains(tensor); });
}

}  // namespace oomtrace
