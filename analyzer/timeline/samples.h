// The memory of one device over time, in bounded space: at most kMost samples, whatever the number of events.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// While there is room every event has its sample. Then each pair of neighbours becomes the one with more bytes in
// tensors, so that no peak is ever lost, and from there on so does each pair of new ones.
class SampleSeries {
 public:
  void Add(const Sample& sample);
  std::vector<Sample> Take();

  static constexpr size_t kMost = size_t{1} << 20;  // 24 MiB a device

 private:
  void Halve();

  std::vector<Sample> samples_;
  Sample pending_;          // the highest of the group that is being collected
  int64_t in_group_ = 0;    // events in it
  int64_t group_size_ = 1;  // events to a sample
};

}  // namespace oomtrace
