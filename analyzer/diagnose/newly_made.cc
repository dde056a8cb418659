#include "analyzer/diagnose/newly_made.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/diagnose/site.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {

namespace {

// What a statement made for the first time so many steps ago may still be new; what it made in every step since is not.
constexpr size_t kRecentSteps = 3;

}  // namespace

NewlyMade FindNewlyMade(const Facts& facts) {
  NewlyMade made;
  const Timeline& t = *facts.timeline;
  if (!facts.oom || t.steps.empty()) return made;
  const size_t stable_steps = std::max<size_t>(1, t.steps.size() - std::min(t.steps.size(), kRecentSteps));
  const int64_t stable = t.steps[stable_steps - 1].end, last_end = t.steps.back().end;
  const std::vector<uint32_t> statement_of = SameStatements(t);
  std::map<uint32_t, int64_t> first_seen;
  for (const Tensor& tensor : t.tensors) first_seen.try_emplace(statement_of[tensor.stack], tensor.born);
  std::map<std::pair<std::string, int64_t>, NewlyMade> statements;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.stack == 0 || tensor.born <= stable || first_seen[statement_of[tensor.stack]] <= stable ||
        tensor.category == Category::kOptimizerState || (tensor.died != kNever && tensor.born <= last_end)) {
      continue;
    }
    made.bytes += tensor.bytes;
    const Frame site = SiteOf(t, tensor.stack);
    NewlyMade& statement = statements[{site.file, site.line}];
    statement.bytes += tensor.bytes;
    ++statement.count;
    if (statement.example < 0 || tensor.bytes > t.tensors[static_cast<size_t>(statement.example)].bytes)
      statement.example = i;
  }
  for (const auto& [site, statement] : statements) {
    if (statement.bytes <= made.statement) continue;
    made.statement = statement.bytes;
    made.count = statement.count;
    made.example = statement.example;
  }
  made.refused = facts.oom->stack != 0 && !first_seen.contains(statement_of[facts.oom->stack]);
  if (made.refused) made.bytes += facts.refused;
  return made;
}

}  // namespace oomtrace
