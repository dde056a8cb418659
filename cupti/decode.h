// CUPTI's records, as bytes, to the collector's own structures.
//
// Each CUDA release appends fields to a record and moves none, so what is read are prefixes that every version from
// 12.1 has, and later fields where the library's version says that they are there. Layouts: cupti_activity.h of CUPTI
// 12.1 to 13.5, x86-64 and AArch64 (the same).
#pragma once

#include <cstdint>

#include "cupti/interface.h"

namespace oomtrace::cupti {

inline constexpr uint32_t kOldestVersion = 18;  // CUPTI 12.1, the oldest whose layouts were looked at
inline constexpr uint32_t kSourceSince = 24;    // 12.6: MEMORY2 names the library that asked

struct Decoded {
  enum class What { kNothing, kActivity, kMemory, kResource, kCorrelation };
  What what = What::kNothing;
  Activity activity;
  Memory memory;
  Resource resource;
  uint64_t launch = 0;  // of a correlation
  uint32_t correlation = 0;
  bool untimed = false;  // an activity whose time CUPTI could not collect
};

// Times stay as CUPTI gives them. kNothing for kinds that nobody asked for.
Decoded Decode(const void* record, uint32_t version);

}  // namespace oomtrace::cupti
