#include "analyzer/timeline/private_segments.h"

#include <iterator>

namespace oomtrace {

PrivateSegments::PrivateSegments(const std::vector<PrivateSegment>& segments) {
  for (const PrivateSegment& segment : segments) by_address_[{segment.device, segment.address}] = &segment;
}

const PrivateSegment* PrivateSegments::Of(int32_t device, uint64_t address, int64_t born) const {
  const auto after = by_address_.upper_bound({device, address});
  if (after == by_address_.begin()) return nullptr;
  const PrivateSegment& segment = *std::prev(after)->second;
  const bool inside = segment.device == device && address - segment.address < static_cast<uint64_t>(segment.bytes);
  return inside && born >= segment.born && born <= segment.taken ? &segment : nullptr;
}

}  // namespace oomtrace
