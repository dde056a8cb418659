// Which segment of a private pool a block lies in.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Of what the allocator's snapshots list, the last that was said of an address. Refers to `segments`: they outlive it.
class PrivateSegments {
 public:
  explicit PrivateSegments(const std::vector<PrivateSegment>& segments);

  // Of a block made at `born` (ns), after the segment was and before the snapshot; nullptr: it is in no private pool,
  // as far as the trace tells.
  const PrivateSegment* Of(int32_t device, uint64_t address, int64_t born) const;

 private:
  std::map<std::pair<int32_t, uint64_t>, const PrivateSegment*> by_address_;
};

}  // namespace oomtrace
