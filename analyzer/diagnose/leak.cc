#include "analyzer/diagnose/leak.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "analyzer/attribute/batch_growth.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/leak_trend.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Three boundaries are the fewest that show a trend.
constexpr int64_t kFewestBoundaries = 3;
// Below this a rise is bookkeeping (a counter, a scalar logged once): it cannot fill a device in any run's life.
constexpr int64_t kWorthReporting = 64 << 10;
// What one statement made and what still lived at a boundary.
struct Statement {
  std::vector<Member> members;
  std::set<uint32_t> stacks;
};

std::vector<int64_t> Boundaries(const Timeline& timeline, int64_t until, bool& steps) {
  std::vector<int64_t> times;
  for (const Step& step : timeline.steps) {
    if (step.end <= until) times.push_back(step.end);
  }
  steps = times.size() >= static_cast<size_t>(kFewestBoundaries);
  if (steps) return times;
  times.clear();
  bool backward = false;
  for (const PhaseMark& mark : timeline.phases) {
    if (mark.time > until) break;
    if (backward && mark.phase != PhaseKind::kBackward) times.push_back(mark.time);
    backward = mark.phase == PhaseKind::kBackward;
  }
  return times;
}

// Several tensors a step, made under grad mode, are a graph; one is an output. A scalar made under grad mode is a loss
// that brings its graph's nodes along, whatever memory they still hold.
bool KeepsGraph(const Timeline& timeline, Leak& leak) {
  int64_t with_grad = 0;
  for (const LeakGroup& group : leak.groups) {
    const Tensor& tensor = timeline.tensors[group.example];
    if (tensor.grad_mode && !tensor.backward) with_grad += group.total;
  }
  if (2 * with_grad < leak.total) return false;
  const Tensor& largest = timeline.tensors[leak.groups.front().example];
  const Layout& layout = timeline.layouts[largest.layout];
  leak.scalar = layout.has_shape() && layout.shape.empty();
  return leak.scalar || (leak.groups.size() >= 3 && leak.tensors_per_boundary > 2.5);
}

}  // namespace

std::set<uint32_t> Leak::stacks() const {
  std::set<uint32_t> all;
  for (const LeakGroup& group : groups) all.insert(group.stacks.begin(), group.stacks.end());
  return all;
}

void SumUp(const Timeline& timeline, Leak& leak) {
  leak.bytes_per_boundary = leak.tensors_per_boundary = 0;
  leak.total = 0;
  for (const LeakGroup& group : leak.groups) {
    leak.bytes_per_boundary += group.bytes_per_boundary;
    leak.tensors_per_boundary += group.tensors_per_boundary;
    leak.total += group.total;
  }
  leak.found = leak.total >= kWorthReporting;
  if (!leak.found) return;
  leak.since = leak.groups.front().since;
  leak.births = leak.groups.front().births;
  leak.growth = leak.groups.front().growth;
  leak.with_graph = KeepsGraph(timeline, leak);
}

std::vector<uint32_t> LeakedTensors(const Facts& facts, const Leak& leak) {
  const Timeline& t = *facts.timeline;
  std::vector<uint32_t> leaked;
  if (!leak.found || !leak.boundaries_are_steps || t.steps.empty()) return leaked;
  const std::set<uint32_t> stacks = leak.stacks();
  for (const uint32_t i : facts.live) {
    if (t.tensors[i].born <= t.steps.back().end && stacks.contains(t.tensors[i].stack)) leaked.push_back(i);
  }
  return leaked;
}

Leak FindLeak(const Timeline& timeline, int64_t until, bool died) {
  Leak leak;
  const std::vector<int64_t> boundaries = Boundaries(timeline, until, leak.boundaries_are_steps);
  const int64_t count = static_cast<int64_t>(boundaries.size());
  if (count < kFewestBoundaries) return leak;
  const auto seen_at = [&](int64_t time) {
    return std::lower_bound(boundaries.begin(), boundaries.end(), time) - boundaries.begin();
  };
  const std::vector<uint32_t> statement_of = SameStatements(timeline);
  std::unordered_map<uint32_t, Statement> statements;
  for (uint32_t i = 0; i < timeline.tensors.size(); ++i) {
    const Tensor& tensor = timeline.tensors[i];
    if (tensor.device != timeline.device || tensor.born > boundaries.back()) continue;
    const int64_t first = seen_at(tensor.born);
    const int64_t last = tensor.died == kNever ? count : seen_at(tensor.died);
    if (first >= last) continue;
    Statement& statement = statements[statement_of[tensor.stack]];
    statement.members.push_back({first, last, i});
    statement.stacks.insert(tensor.stack);
  }
  // Where the batches grow, what the last one leaves behind grows as well, and no container is to blame.
  std::map<int64_t, double> growths;
  const auto batch_growth = [&](int64_t boundary) {
    const auto [entry, added] = growths.try_emplace(boundary, 1);
    const int64_t begin = boundary == 0 ? 0 : boundaries[static_cast<size_t>(boundary - 1)];
    if (added) entry->second = BatchGrowth(timeline, begin, until);
    return entry->second;
  };
  for (auto& [stack, statement] : statements) {
    LeakGroup group;
    group.stacks.assign(statement.stacks.begin(), statement.stacks.end());
    LeakTrend trend(timeline, std::move(statement.members), boundaries, died);
    // Of a queue the survivors are the youngest: they do not tell since when it has grown.
    const bool found = trend.IsQueue() ? trend.FitRenewed(batch_growth, &group) || trend.FitStaying(&group)
                                       : trend.FitStaying(&group) || trend.FitRenewed(batch_growth, &group);
    if (found) leak.groups.push_back(group);
  }
  std::sort(leak.groups.begin(), leak.groups.end(), [](const LeakGroup& a, const LeakGroup& b) {
    return a.total != b.total ? a.total > b.total : a.stacks < b.stacks;
  });
  SumUp(timeline, leak);
  return leak;
}

}  // namespace oomtrace
