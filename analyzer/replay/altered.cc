#include "analyzer/replay/altered.h"

#include <algorithm>
#include <unordered_set>

namespace oomtrace {
namespace {

constexpr uint32_t kRefused = UINT32_MAX;  // no tensor's index

}  // namespace

AlteredReplay::AlteredReplay(const Timeline& timeline, int64_t begin, int64_t end, int64_t refused_at, int64_t refused)
    : timeline_(timeline), begin_(begin), end_(end), refused_at_(refused_at), refused_(refused) {
  stream_ = RecordedStream(timeline);
  std::erase_if(stream_, [&](const TimedOp& op) { return op.time > end; });
}

// What is freed at a moment goes first: a life ends where the statement does after which it is not needed.
std::vector<TimedOp> AlteredReplay::Altered(const std::vector<OtherLife>& lives) const {
  std::unordered_set<uint32_t> altered;
  std::vector<TimedOp> others;
  for (const OtherLife& life : lives) {
    altered.insert(life.tensor);
    if (life.died <= life.born || life.born > end_) continue;
    others.push_back({life.born, life.tensor, false});
    if (life.died <= end_) others.push_back({life.died, life.tensor, true});
  }
  const auto before = [](const TimedOp& a, const TimedOp& b) {
    return a.time != b.time ? a.time < b.time : a.free && !b.free;
  };
  std::sort(others.begin(), others.end(), before);
  std::vector<TimedOp> kept;
  kept.reserve(stream_.size());
  for (const TimedOp& op : stream_) {
    if (!altered.contains(op.tensor)) kept.push_back(op);
  }
  std::vector<TimedOp> merged;
  merged.reserve(kept.size() + others.size());
  std::merge(others.begin(), others.end(), kept.begin(), kept.end(), std::back_inserter(merged), before);
  return merged;
}

int64_t AlteredReplay::Peak(const std::vector<OtherLife>& lives) const {
  int64_t live = 0;
  int64_t peak = 0;
  bool begun = false;
  int64_t at_refusal = 0;
  for (const TimedOp& op : Altered(lives)) {
    if (!begun && op.time >= begin_) {
      begun = true;
      peak = live;
    }
    live += op.free ? -timeline_.tensors[op.tensor].bytes : timeline_.tensors[op.tensor].bytes;
    if (begun) peak = std::max(peak, live);
    if (op.time <= refused_at_) at_refusal = live;
  }
  if (!begun) peak = live;
  if (refused_at_ <= end_) peak = std::max(peak, at_refusal + refused_);
  return peak;
}

ReplayResult AlteredReplay::Reserved(const std::vector<OtherLife>& lives, const AllocatorConfig& config) const {
  std::vector<StreamOp> stream;
  for (const TimedOp& op : Altered(lives)) {
    if (op.time > refused_at_) break;
    stream.push_back(ToStream(timeline_, op));
  }
  if (refused_at_ <= end_) stream.push_back({kRefused, refused_});
  return RunStream(stream, config, timeline_.free_lists);
}

}  // namespace oomtrace
