// The recorded stream of a stretch of time with other lives for some tensors: what a peak would have been if they had
// been freed earlier, allocated later, or never.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/replay/replay.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct OtherLife {
  uint32_t tensor = 0;  // index into Timeline::tensors
  int64_t born = 0;
  int64_t died = 0;  // at or before `born`: it never lived
};

class AlteredReplay {
 public:
  // Of the timeline's device. The request at `refused_at`, of `refused` bytes, was not granted: it counts to the peak.
  AlteredReplay(const Timeline& timeline, int64_t begin, int64_t end, int64_t refused_at = kNever, int64_t refused = 0);

  // Highest bytes in tensors between begin and end. Each tensor at most once in `lives`.
  int64_t Peak(const std::vector<OtherLife>& lives) const;
  // Highest bytes that PyTorch's allocator would have reserved from the start of the trace to `end`, by its model.
  ReplayResult Reserved(const std::vector<OtherLife>& lives, const AllocatorConfig& config) const;

 private:
  std::vector<TimedOp> Altered(const std::vector<OtherLife>& lives) const;

  const Timeline& timeline_;
  int64_t begin_;
  int64_t end_;
  int64_t refused_at_;
  int64_t refused_;
  std::vector<TimedOp> stream_;  // up to `end`
};

}  // namespace oomtrace
