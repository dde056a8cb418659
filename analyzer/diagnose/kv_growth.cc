#include "analyzer/diagnose/kv_growth.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Fewer calls show no trend.
constexpr int64_t kFewestCalls = 8;
// A cache that is shorter than this share of what it was has been emptied.
constexpr double kEmptied = 0.75;
// A call that adds so many times as much as most do brings a prompt.
constexpr int64_t kPrompt = 4;

// A line of a module.
using Place = std::pair<uint32_t, uint64_t>;

Place PlaceOfTensor(const Timeline& t, const Tensor& tensor) {
  const Stack& stack = t.stacks[tensor.stack];
  return {stack.frames.empty() ? 0 : stack.frames.front(), stack.module};
}

int64_t Asked(const Timeline& t, const Tensor& tensor) {
  const int64_t asked = t.layouts[tensor.layout].bytes;
  return asked > 0 ? asked : tensor.bytes;
}

// The size along the dimension in which the two differ, of the larger.
int64_t Positions(const Layout& smaller, const Layout& larger) {
  for (size_t i = 0; i < std::min(smaller.shape.size(), larger.shape.size()); ++i) {
    if (smaller.shape[i] != larger.shape[i]) return larger.shape[i];
  }
  return 0;
}

// Fills calls, requests and positions from the sizes that the caches of one place had.
void ReadSizes(const Timeline& t, const std::vector<uint32_t>& members, KvGrowth* kv) {
  std::vector<uint32_t> grown;  // each larger than the one before, since the cache was last empty
  for (const uint32_t i : members) {
    const int64_t size = Asked(t, t.tensors[i]);
    if (!grown.empty() && static_cast<double>(size) < kEmptied * static_cast<double>(Asked(t, t.tensors[grown.back()])))
      grown.clear();
    if (grown.empty() || size > Asked(t, t.tensors[grown.back()])) grown.push_back(i);
  }
  kv->calls = static_cast<int64_t>(grown.size());
  if (kv->calls < kFewestCalls) return;
  std::vector<int64_t> rises;
  for (size_t i = 1; i < grown.size(); ++i)
    rises.push_back(Asked(t, t.tensors[grown[i]]) - Asked(t, t.tensors[grown[i - 1]]));
  std::vector<int64_t> sorted = rises;
  std::sort(sorted.begin(), sorted.end());
  const int64_t most = sorted[sorted.size() / 2];
  // The first prompt is there before anything can grow.
  kv->requests = 1 + std::count_if(rises.begin(), rises.end(), [&](int64_t rise) { return rise >= kPrompt * most; });
  const Layout& last = t.layouts[t.tensors[grown.back()].layout];
  kv->positions = Positions(t.layouts[t.tensors[grown[grown.size() - 2]].layout], last);
}

}  // namespace

KvGrowth FindKvGrowth(const Facts& facts) {
  KvGrowth kv;
  if (!facts.oom || facts.oom->phase != PhaseKind::kEvaluation) return kv;
  const Timeline& t = *facts.timeline;
  std::set<Place> places;
  const Tensor* largest = nullptr;
  int64_t beside_states = facts.refused;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (!IsParameterState(tensor.category)) beside_states += tensor.bytes;
    if (tensor.category != Category::kKvCache) continue;
    kv.bytes += tensor.bytes;
    if (places.insert(PlaceOfTensor(t, tensor)).second || kv.holder.empty()) kv.holder = tensor.holder.str();
    if (largest != nullptr && Asked(t, tensor) <= Asked(t, *largest)) continue;
    largest = &tensor;
    kv.example = i;
  }
  if (largest == nullptr) return kv;
  if (facts.oom->stack < t.stacks.size() && !t.stacks[facts.oom->stack].frames.empty() &&
      places.contains({t.stacks[facts.oom->stack].frames.front(), t.stacks[facts.oom->stack].module})) {
    kv.bytes += facts.refused;
  }
  const Place place = PlaceOfTensor(t, *largest);
  std::vector<uint32_t> members;
  const int64_t known = PartlyKnownUntil(t, facts.moment);  // of the calls before, only some may be on record
  for (uint32_t i = 0; i < t.tensors.size(); ++i) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.born > facts.moment) break;
    if (tensor.born < known) continue;
    if (tensor.category == Category::kKvCache && PlaceOfTensor(t, tensor) == place) members.push_back(i);
  }
  ReadSizes(t, members, &kv);
  kv.found = kv.calls >= kFewestCalls && 4 * kv.bytes >= beside_states;
  return kv;
}

std::string KvSentence(const Facts& facts, const KvGrowth& kv) {
  const Tensor& example = facts.timeline->tensors[kv.example];
  const std::string size = absl::StrCat("The cache of keys and values takes ", Bytes(kv.bytes), " in tensors like ",
                                        Described(facts.timeline->layouts[example.layout], example.bytes),
                                        ", and each of the last ", kv.calls, " calls of the model has made it longer");
  if (!kv.never_emptied()) return absl::StrCat(size, ".");
  return absl::StrCat(size, ": through ", kv.requests, " prompts it was never emptied.");
}

}  // namespace oomtrace
