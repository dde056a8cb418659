// Dead weight: what cost bytes at the peak of a GPU timeline's window without need, line by line, and what the peak
// would have been without it (docs/deadweight.md).
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/waste.h"
#include "analyzer/replay/altered.h"
#include "report.pb.h"

namespace oomtrace {

// Tensors that one line made and that are wasted in one way.
struct WasteGroup {
  std::vector<Wasted> at_peak;   // largest first
  std::vector<OtherLife> lives;  // of these and of their like in the rest of the window
  int64_t peak = 0;              // of the window without the waste
};

struct DeadWeight {
  bool judged = false;
  GpuTime::Window window;
  int64_t moment = 0;
  int64_t peak = 0;
  int64_t without_all = 0;  // the peak without all of the groups
  int64_t steps = 0;
  std::vector<WasteGroup> groups;  // as report::DeadWeight.items
};

DeadWeight FindDeadWeight(const Facts& facts);

// `allocator_known`: PyTorch's allocator is modelled, and the model reproduced the run.
void FillDeadWeight(const Facts& facts, const DeadWeight& found, bool allocator_known, report::DeadWeight& out);

// The lives of several groups in one: a tensor that one of them needs longer lives longer.
std::vector<OtherLife> LivesOfAll(const std::vector<WasteGroup>& groups);

}  // namespace oomtrace
