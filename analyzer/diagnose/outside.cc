#include "analyzer/diagnose/outside.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Of the device: less would take hundreds of times as long to matter as it has taken so far.
constexpr int64_t kWorthAWord = 50;  // 1 / 2 %

}  // namespace

OutsideGrowth FindOutsideGrowth(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  const int64_t moment = facts.oom != nullptr ? facts.oom->time : t.end;
  OutsideGrowth outside;
  outside.growth = FindGrowthOverSteps(t, moment);
  if (!outside.growth.found || kWorthAWord * outside.growth.site.bytes < facts.device.total()) return OutsideGrowth();
  if (facts.oom == nullptr) return outside;
  // What only PyTorch's own tensors can have is out of another's reach.
  const int64_t cache = facts.oom->from_caching_allocator ? facts.unallocated() : 0;
  outside.decides = facts.requested - facts.device.free() - cache <= outside.growth.site.bytes;
  return outside;
}

std::string OutsideSentence(const Facts& facts, const DeviceGrowth& growth) {
  const Timeline& t = *facts.timeline;
  const DeviceSite& site = growth.site;
  return absl::StrCat(PlaceName(t, site.library, site.caller, site.stack), " holds ", Bytes(site.bytes), " in ",
                      Count(site.count, "allocation"),
                      " outside PyTorch, and took more until the end: ", Bytes(std::llround(growth.bytes_per_second)),
                      " a second");
}

Pattern OutsidePattern(const Facts& facts, const OutsideGrowth& outside) {
  Pattern p{"gradual_leak", 0.85, {}};
  p.evidence.push_back(absl::StrCat(OutsideSentence(facts, outside.growth), "."));
  p.evidence.push_back(absl::StrCat("The request was ", Bytes(facts.requested), "; the device had ",
                                    Bytes(facts.device.free()), " free. Without that growth it would have fit."));
  return p;
}

}  // namespace oomtrace
