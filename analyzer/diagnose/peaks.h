// The anatomy of the highest peaks: what lived at each, and which one stands behind it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

// A moment at which memory rose and fell again by at least a fiftieth of the highest peak. Those of one phase whose
// last allocation came from one line are the same peak, again in each step: the highest of them stands for all.
struct MemoryPeak {
  int64_t time = 0;
  int64_t bytes = 0;  // in tensors; at the death with the refused tensor
  PhaseKind phase = PhaseKind::kSetUp;
  uint32_t place = 0;  // stack of what was allocated last: index into Timeline::stacks
  int64_t step = 0;
  int64_t micro_batch = 0;
  int64_t times = 0;
};

// Highest first, at most `limit`. Of what was folded away the moments are known, and not what lived at them.
std::vector<MemoryPeak> FindPeaks(const Facts& facts, size_t limit);

void FillPeaks(const Facts& facts, report::Report& report);

// "transformer.h.11.mlp" → "transformer.h.*.mlp": layers alike are one. Of nothing but numbers they are not: "4.1".
std::string ModuleOfAllLayers(const std::string& path);

}  // namespace oomtrace
