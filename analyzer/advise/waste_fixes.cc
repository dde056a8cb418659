#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"

namespace oomtrace {
namespace {

std::string Title(const report::Waste& item) {
  if (item.category() == "too_early") return "Allocate later what is not needed yet";
  if (item.category() == "duplicate") return "Do without the copy";
  return item.category() == "dead" ? "Free what is not used again" : "Do without what nothing reads";
}

}  // namespace

// What a timeline's window shows to be dead weight at the death. Only where the allocator's model reproduces the death
// and runs through without it: then it is proven.
void DropDeadWeight(Advisor& a) {
  const DeadWeight& dead = a.d().dead_weight;
  if (a.facts().oom == nullptr || dead.groups.empty() || dead.window.end != a.facts().oom->time || !a.KnowsAllocator())
    return;
  const auto add = [&](const std::string& title, const std::string& change, const std::vector<OtherLife>& lives) {
    const Prediction p = a.predictor().WithLives(lives);
    if (p.fits) a.Add("dead_weight", title, change, p, "none: nothing uses it in the meantime");
    return p.fits;
  };
  for (size_t i = 0; i < dead.groups.size(); ++i) {
    const report::Waste& item = a.d().report.dead_weight().items(static_cast<int>(i));
    if (add(Title(item), item.change(), dead.groups[i].lives)) return;
  }
  if (dead.groups.size() < 2) return;
  std::string changes;
  for (const report::Waste& item : a.d().report.dead_weight().items())
    absl::StrAppend(&changes, changes.empty() ? "" : "; ", item.change());
  add("Drop the dead weight", changes, LivesOfAll(dead.groups));
}

}  // namespace oomtrace
