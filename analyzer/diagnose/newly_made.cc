#include "analyzer/diagnose/newly_made.h"

#include <map>
#include <string>
#include <utility>

#include "analyzer/diagnose/site.h"

namespace oomtrace {

NewlyMade FindNewlyMade(const Facts& facts) {
  NewlyMade made;
  const Timeline& t = *facts.timeline;
  if (!facts.oom || t.steps.empty()) return made;
  const int64_t stable = t.steps.front().end, last_end = t.steps.back().end;
  std::map<uint32_t, int64_t> first_seen;
  for (const Tensor& tensor : t.tensors) first_seen.try_emplace(tensor.stack, tensor.born);
  std::map<std::pair<std::string, int64_t>, NewlyMade> statements;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.stack == 0 || tensor.born <= stable || first_seen[tensor.stack] <= stable ||
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
  made.refused = facts.oom->stack != 0 && !first_seen.contains(facts.oom->stack);
  if (made.refused) made.bytes += facts.refused;
  return made;
}

}  // namespace oomtrace
