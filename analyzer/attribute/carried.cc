#include "analyzer/attribute/carried.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr size_t kShortestChain = 3;     // tensors: two may be any pair that overlaps
constexpr size_t kMostChains = 64;       // of one line in one module at a time
constexpr size_t kFewestModules = 2;     // that keep the same: one may be any buffer
constexpr int64_t kFewestCalls = 4;      // of a module while it keeps a reserve
constexpr size_t kFewestDimensions = 3;  // batch, positions and features

using Members = std::vector<size_t>;  // indices into Timeline::tensors, in order of birth

// The frame that made a tensor, and the module that was being called.
using Place = std::pair<uint32_t, uint64_t>;

// Whether exactly one dimension grew.
bool Grew(const Layout& before, const Layout& after) {
  if (before.dtype != after.dtype || before.shape.size() != after.shape.size()) return false;
  int grown = 0;
  for (size_t i = 0; i < before.shape.size(); ++i) {
    if (after.shape[i] < before.shape[i]) return false;
    grown += after.shape[i] > before.shape[i] ? 1 : 0;
  }
  return grown == 1;
}

class Carried {
 public:
  explicit Carried(Timeline* timeline) : timeline_(*timeline) {}

  void Mark() {
    Collect();
    for (const auto& [place, members] : by_place_) MarkChains(members);
    MarkReserves();
  }

 private:
  void Collect();
  void MarkChains(const Members& members);
  void MarkChain(const Members& chain);
  void MarkReserves();
  const Layout& LayoutOf(const Tensor& tensor) const { return timeline_.layouts[tensor.layout]; }
  bool Continues(const Tensor& before, const Tensor& after) const {
    return before.died > after.born && Grew(LayoutOf(before), LayoutOf(after));
  }
  bool IsKept(const Tensor& tensor, uint64_t module) const;

  Timeline& timeline_;
  std::map<Place, Members> by_place_;
  std::map<uint64_t, std::vector<const Members*>> of_module_;
};

void Carried::Collect() {
  for (size_t i = 0; i < timeline_.tensors.size(); ++i) {
    const Tensor& tensor = timeline_.tensors[i];
    const Stack& stack = timeline_.stacks[tensor.stack];
    if (tensor.phase != PhaseKind::kEvaluation || tensor.category != Category::kTemporary) continue;
    if (stack.module == 0 || stack.frames.empty() || LayoutOf(tensor).shape.size() < kFewestDimensions) continue;
    by_place_[{stack.frames.front(), stack.module}].push_back(i);
  }
  for (const auto& [place, members] : by_place_) of_module_[place.second].push_back(&members);
}

// A line may serve keys and values by turns: there are as many chains as tensors of it live at a time.
void Carried::MarkChains(const Members& members) {
  std::vector<Members> chains;
  for (const size_t i : members) {
    const Tensor& tensor = timeline_.tensors[i];
    const auto ended = std::stable_partition(chains.begin(), chains.end(), [&](const Members& chain) {
      return timeline_.tensors[chain.back()].died > tensor.born;
    });
    std::for_each(ended, chains.end(), [&](const Members& chain) { MarkChain(chain); });
    chains.erase(ended, chains.end());
    if (chains.size() > kMostChains) return;  // outputs that pile up
    const auto grown_from = std::find_if(chains.begin(), chains.end(), [&](const Members& chain) {
      return Continues(timeline_.tensors[chain.back()], tensor);
    });
    if (grown_from == chains.end()) {
      chains.push_back({i});
    } else {
      grown_from->push_back(i);
    }
  }
  for (const Members& chain : chains) MarkChain(chain);
}

// Of a cache the one before the last is gone when the next is made; outputs that pile up stay.
void Carried::MarkChain(const Members& chain) {
  if (chain.size() < kShortestChain) return;
  for (size_t i = 0; i + 2 < chain.size(); ++i) {
    if (timeline_.tensors[chain[i]].died > timeline_.tensors[chain[i + 2]].born) return;
  }
  for (const size_t i : chain) timeline_.tensors[i].category = Category::kKvCache;
}

// Whether some other line of the module ran often while the tensor lived.
bool Carried::IsKept(const Tensor& tensor, uint64_t module) const {
  const auto places = of_module_.find(module);
  if (places == of_module_.end()) return false;
  return std::any_of(places->second.begin(), places->second.end(), [&](const Members* members) {
    const auto born = [&](size_t i, int64_t time) { return timeline_.tensors[i].born <= time; };
    const auto first = std::lower_bound(members->begin(), members->end(), tensor.born, born);
    const auto last =
        tensor.died == kNever ? members->end() : std::lower_bound(members->begin(), members->end(), tensor.died, born);
    return last - first >= kFewestCalls;
  });
}

void Carried::MarkReserves() {
  std::map<std::pair<uint32_t, uint32_t>, std::map<uint64_t, Members>> by_line;  // line and layout, then module
  for (const auto& [place, members] : by_place_) {
    for (const size_t i : members) by_line[{place.first, timeline_.tensors[i].layout}][place.second].push_back(i);
  }
  for (const auto& [line, by_module] : by_line) {
    const bool once = std::all_of(by_module.begin(), by_module.end(), [&](const auto& of) {
      return of.second.size() == 1 && IsKept(timeline_.tensors[of.second.front()], of.first);
    });
    if (!once || by_module.size() < kFewestModules) continue;
    for (const auto& [module, members] : by_module) timeline_.tensors[members.front()].category = Category::kKvCache;
  }
}

}  // namespace

void MarkCarriedState(Timeline* timeline) { Carried(timeline).Mark(); }

}  // namespace oomtrace
