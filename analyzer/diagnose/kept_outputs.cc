#include "analyzer/diagnose/kept_outputs.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Fewer batches show no trend.
constexpr size_t kFewestBatches = 4;

// When each batch of the evaluation began: births of the statement where its inputs arrive, else of the first one that
// allocates again and again what does not stay. What a statement makes with nothing else between is of one batch, as
// the image and the label of `x, t = x.cuda(), t.cuda()` are.
struct Births {
  std::vector<int64_t> begins;  // of each batch
  size_t tensors = 0;
  size_t ended = 0;
  size_t at_once = 0;  // of the batch in work
  size_t most_at_once = 0;
};

std::vector<int64_t> Batches(const Timeline& t, int64_t begin, int64_t end) {
  std::map<uint32_t, Births> all, inputs;
  std::vector<uint32_t> order;
  uint32_t before = 0;
  const auto add = [&](Births& births, const Tensor& tensor) {
    const bool same_batch = tensor.stack == before && !births.begins.empty();
    if (!same_batch) births.begins.push_back(tensor.born);
    births.at_once = same_batch ? births.at_once + 1 : 1;
    births.most_at_once = std::max(births.most_at_once, births.at_once);
    ++births.tensors;
    if (tensor.died <= end) ++births.ended;
  };
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born < begin || tensor.device != t.device || tensor.stack == 0) continue;
    if (tensor.born > end) break;
    if (!all.contains(tensor.stack)) order.push_back(tensor.stack);
    add(all[tensor.stack], tensor);
    if (tensor.category == Category::kInput) add(inputs[tensor.stack], tensor);
    before = tensor.stack;
  }
  for (const auto& [stack, births] : inputs) {
    if (births.begins.size() >= kFewestBatches) return births.begins;
  }
  for (const uint32_t stack : order) {
    const Births& births = all[stack];
    if (births.begins.size() >= kFewestBatches && births.tensors <= births.ended + births.most_at_once)
      return births.begins;
  }
  return {};
}

// How many batches the tensors were born in.
size_t BatchesOf(const Timeline& t, const std::vector<uint32_t>& members, const std::vector<int64_t>& batches) {
  std::vector<int64_t> seen;
  for (const uint32_t i : members) {
    seen.push_back(std::upper_bound(batches.begin(), batches.end(), t.tensors[i].born) - batches.begin());
  }
  std::sort(seen.begin(), seen.end());
  return static_cast<size_t>(std::unique(seen.begin(), seen.end()) - seen.begin());
}

// The container that keeps most of them. A variable keeps the last one only.
std::string CommonHolder(const Timeline& t, const std::vector<uint32_t>& members) {
  std::map<std::string, std::pair<size_t, std::string>> named;  // by container: how many, and one of the names
  for (const uint32_t i : members) {
    if (t.tensors[i].holder.empty()) continue;
    auto& [count, name] = named[Container(t.tensors[i].holder.str())];
    ++count;
    name = t.tensors[i].holder.str();
  }
  const auto most = std::max_element(named.begin(), named.end(), [](const auto& a, const auto& b) {
    // What stands in brackets is in a container.
    const bool a_contains = a.first != a.second.second, b_contains = b.first != b.second.second;
    return std::pair(a.second.first, a_contains) < std::pair(b.second.first, b_contains);
  });
  return most == named.end() ? "" : most->second.second;
}

// `all = torch.cat([all, new])`: of the statement one tensor is there at a time, each larger than the one before.
void FindJoined(const Facts& facts, int64_t begin, bool with_gradients, KeptOutputs* kept) {
  const Timeline& t = *facts.timeline;
  const Tensor* last = nullptr;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.born < begin || tensor.stack == 0 || (tensor.grad_mode && with_gradients)) continue;
    if (last != nullptr && tensor.bytes <= last->bytes) continue;
    last = &tensor;
    kept->example = i;
  }
  if (last == nullptr || last->category == Category::kKvCache) return;
  std::vector<uint32_t> members;
  for (uint32_t i = kept->example + 1; i-- > 0 && t.tensors[i].born >= begin;) {
    if (t.tensors[i].stack == last->stack && t.tensors[i].device == last->device) members.push_back(i);
  }
  if (members.size() < kFewestBatches) return;
  for (size_t later = 0; later + 1 < members.size(); ++later) {
    if (t.layouts[t.tensors[members[later]].layout].bytes <= t.layouts[t.tensors[members[later + 1]].layout].bytes)
      return;
  }
  kept->first = members.back();
  kept->bytes = last->bytes;
  kept->count = 1;
  kept->per_batch = (last->bytes - t.tensors[kept->first].bytes) / static_cast<int64_t>(members.size() - 1);
  kept->holder = last->holder.str();
}

}  // namespace

KeptOutputs FindKeptOutputs(const Facts& facts) {
  KeptOutputs kept;
  if (!facts.oom || facts.oom->phase != PhaseKind::kEvaluation) return kept;
  const Timeline& t = *facts.timeline;
  const int64_t begin = BeginOfEvaluation(t, facts.moment);
  // Of batches before, only what they kept may be on record.
  const int64_t known = std::max(begin, PartlyKnownUntil(t, facts.moment));
  const std::vector<int64_t> batches = Batches(t, known, facts.moment);
  std::map<std::pair<uint32_t, size_t>, std::vector<uint32_t>> groups;
  const bool with_gradients = EvaluatesWithGradients(facts);
  int64_t beside_states = facts.refused;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (!IsParameterState(tensor.category)) beside_states += tensor.bytes;
    if (tensor.born < begin || tensor.stack == 0 || (tensor.grad_mode && with_gradients)) continue;
    groups[{tensor.stack, t.layouts[tensor.layout].shape.size()}].push_back(i);
  }
  int64_t largest = 0;
  for (const auto& [key, members] : groups) {
    std::vector<uint32_t> counted;
    std::copy_if(members.begin(), members.end(), std::back_inserter(counted),
                 [&](uint32_t i) { return t.tensors[i].born >= known; });
    const size_t seen = BatchesOf(t, counted, batches);
    // One or more for nearly each batch since the first one kept.
    if (counted.size() < kFewestBatches || seen < kFewestBatches) continue;
    const auto since = std::upper_bound(batches.begin(), batches.end(), t.tensors[counted.front()].born);
    if (10 * seen < 7 * static_cast<size_t>(batches.end() - since + 1)) continue;
    int64_t bytes = 0, bytes_counted = 0;
    for (const uint32_t i : members) bytes += t.tensors[i].bytes;
    for (const uint32_t i : counted) bytes_counted += t.tensors[i].bytes;
    kept.bytes += bytes;
    kept.count += static_cast<int64_t>(members.size());
    if (bytes > largest) {
      largest = bytes;
      kept.per_batch = bytes_counted / static_cast<int64_t>(seen);
      kept.first = members.front();
      kept.example = members.back();
      kept.holder = CommonHolder(t, members);
    }
  }
  if (4 * kept.bytes < beside_states) {
    kept = KeptOutputs();
    FindJoined(facts, begin, with_gradients, &kept);
  }
  kept.found = kept.bytes > 0 && 4 * kept.bytes >= beside_states;
  kept.joining = kept.found && 4 * facts.refused >= 3 * kept.bytes;
  return kept;
}

}  // namespace oomtrace
