#include "analyzer/diagnose/private_pools.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/culprit.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Fewer pools than this are a program that sets itself up.
constexpr int64_t kFewestPools = 4;
// The last pool came within this part of the steps that it took all of them to come: growth went on to the end.
constexpr int64_t kRecent = 3;

struct Pool {
  int64_t bytes = 0;
  int64_t born = kNever;
};

// The last that was said of each segment, by pool.
std::map<uint32_t, Pool> PoolsAt(const Facts& facts) {
  std::map<uint64_t, const PrivateSegment*> segments;
  for (const PrivateSegment& segment : facts.timeline->private_segments) {
    if (segment.device == facts.timeline->device && segment.born <= facts.moment) segments[segment.address] = &segment;
  }
  std::map<uint32_t, Pool> pools;
  for (const auto& [address, segment] : segments) {
    Pool& pool = pools[segment->pool];
    pool.bytes += segment->bytes;
    pool.born = std::min(pool.born, segment->born);
  }
  return pools;
}

// Pools that came one after another, in steps of their own, and until the end.
void FindGrowth(const Facts& facts, const std::map<uint32_t, Pool>& pools, PrivatePools* found) {
  const Timeline& t = *facts.timeline;
  std::map<int64_t, int64_t> births;  // step -> bytes of the pools that came in it
  for (const auto& [number, pool] : pools) births[StepsEndedBy(t, pool.born)] += pool.bytes;
  if (static_cast<int64_t>(births.size()) < kFewestPools) return;
  const int64_t first = births.begin()->first;
  const int64_t last = births.rbegin()->first;
  const int64_t now = StepsEndedBy(t, facts.moment);
  if (kRecent * (now - last) > now - first) return;
  // A warm-up that captures most of them at once is no growth.
  for (const auto& [step, bytes] : births) {
    if (2 * bytes > found->bytes) return;
  }
  found->grow = true;
  found->since = first;
  found->grown = found->bytes;
  found->bytes_per_step =
      static_cast<double>(found->bytes) / static_cast<double>(std::max<int64_t>(1, now - first + 1));
}

bool InPrivatePool(const Timeline& timeline, const Tensor& tensor) {
  return timeline.free_lists[tensor.free_list].pool != 0;
}

}  // namespace

PrivatePools FindPrivatePools(const Facts& facts, const Leak& leak) {
  PrivatePools found;
  if (facts.oom == nullptr) return found;
  const Timeline& t = *facts.timeline;
  const std::map<uint32_t, Pool> pools = PoolsAt(facts);
  found.count = static_cast<int64_t>(pools.size());
  for (const auto& [number, pool] : pools) {
    found.bytes += pool.bytes;
    found.largest = std::max(found.largest, pool.bytes);
  }
  for (uint32_t i = 0; i < t.tensors.size() && t.tensors[i].born <= facts.moment; ++i) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.device != t.device || !InPrivatePool(t, tensor)) continue;
    if (found.example == ~0u || tensor.bytes > t.tensors[found.example].bytes) found.example = i;
  }
  for (const uint32_t i : facts.live) {
    if (!InPrivatePool(t, t.tensors[i])) continue;
    found.in_tensors += t.tensors[i].bytes;
    // What the iteration in work has made may go with it.
    if (t.steps.empty() || t.tensors[i].born > t.steps.back().end || t.tensors[i].holder.empty()) continue;
    if (found.survivor == ~0u || t.tensors[i].bytes > t.tensors[found.survivor].bytes) found.survivor = i;
  }
  FindGrowth(facts, pools, &found);
  if (!found.grow) return found;
  for (const uint32_t i : LeakedTensors(facts, leak)) {
    if (!InPrivatePool(t, t.tensors[i])) found.leaked_beside += t.tensors[i].bytes;
  }
  const int64_t missing = facts.requested - facts.device.free() - facts.unallocated();
  found.decides = found.grown > found.leaked_beside && missing <= found.grown;
  return found;
}

Pattern PrivatePoolsPattern(const Facts& facts, const PrivatePools& pools, const Leak& leak) {
  Pattern p{"gradual_leak", pools.count >= 8 ? 0.93 : 0.85, {}};
  p.evidence.push_back(
      absl::StrCat(pools.count, " private pools (of CUDA graphs, or of MemPools) hold ", Bytes(pools.bytes),
                   ", and more of them came with the steps until the end: ", Bytes(std::llround(pools.bytes_per_step)),
                   " a step, from step ", pools.since + 1, " on."));
  p.evidence.push_back(absl::StrCat(
      "Of that, ", Bytes(pools.in_tensors), " are tensors; ", Bytes(facts.private_idle),
      " are what each graph worked with when it was captured. It keeps that for its replays: neither empty_cache() nor "
      "a tensor let go gives it back while the graph is there."));
  if (leak.found && leak.boundaries_are_steps) {
    p.evidence.push_back(absl::StrCat("Tensors still held at the end of each step grew as well, by ",
                                      Bytes(std::llround(leak.bytes_per_boundary)), " a step: ", Bytes(leak.total),
                                      " by now."));
  }
  p.evidence.push_back(absl::StrCat("The request was ", Bytes(facts.requested), "; the device had ",
                                    Bytes(facts.device.free()), " free and ", Bytes(facts.unallocated()),
                                    " sat in PyTorch's cache unused."));
  return p;
}

void FillPrivatePoolsCulprit(const Facts& facts, const PrivatePools& pools, const std::string& holder,
                             report::Culprit* culprit) {
  const Timeline& t = *facts.timeline;
  culprit->Clear();
  culprit->set_bytes(pools.bytes);
  culprit->set_holder(holder);
  if (culprit->holder().empty() && pools.survivor != ~0u)
    culprit->set_holder(Container(t.tensors[pools.survivor].holder));
  if (pools.example == ~0u) return;
  const Tensor& example = t.tensors[pools.example];
  SetSite(SiteOf(t, PlaceOf(t, example.stack, example.forward_stack)), *culprit);
  culprit->set_category(CategoryName(example.category));
}

void FillPrivatePoolsLeak(const Facts& facts, const PrivatePools& pools, const Leak& leak,
                          const report::Culprit& culprit, report::Leak* out) {
  double beside = 0;
  if (leak.found && leak.boundaries_are_steps && leak.total > 0)
    beside = leak.bytes_per_boundary * static_cast<double>(pools.leaked_beside) / static_cast<double>(leak.total);
  out->set_bytes_per_step(std::llround(pools.bytes_per_step + std::min(beside, leak.bytes_per_boundary)));
  out->set_site(absl::StrCat(culprit.file(), ":", culprit.line(), " in ", culprit.function()));
  out->set_holder(culprit.holder());
  out->set_since_step(pools.since + 1);
  out->set_steps_to_oom(facts.oom != nullptr ? 0 : -1);
}

}  // namespace oomtrace
