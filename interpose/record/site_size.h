// What the fold has to know of a site: Facts notes it by id when it writes the site's record.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

inline constexpr size_t kMostSites = 1 << 18;  // ids are below it

struct SiteSize {
  uint64_t bytes;
  uint32_t device;
};

}  // namespace oomtrace
