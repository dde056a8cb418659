// Joins what a CUPTI collector recorded: launch (addresses, stack) → correlation → activity (times) → tensor.
//
// Activities come long after their launches, and correlations beside them, so everything is kept until the end.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/tables.h"
#include "analyzer/timeline/accesses.h"
#include "analyzer/timeline/timeline.h"
#include "trace.pb.h"

namespace oomtrace {

class GpuTimeBuilder {
 public:
  explicit GpuTimeBuilder(const Tables& tables) : tables_(tables) {}

  void OnState(int64_t time, const trace::CollectorState& event);
  void OnClock(int64_t time, const trace::CollectorClock& event);
  void OnActivity(const trace::GpuActivity& event);
  // `addresses`: the event's, in its order; `stack` as in Timeline::stacks.
  void OnLaunch(int64_t time, const trace::Launch& event, uint32_t stack, std::vector<LaunchAddress> addresses);
  void OnCorrelation(const trace::Correlation& event);
  void OnMemory(const trace::CuptiMemory& event);
  void OnResource(const trace::GpuResource& event);

  // Fills timeline->gpu_time. Its device allocations and its device are complete.
  void Finish(Timeline* timeline);

 private:
  struct Launched {
    int64_t time = 0;
    uint32_t stack = 0;
    bool unknown = false;
    bool again = false;
    uint32_t written = 0;
    std::vector<LaunchAddress> addresses;
    size_t work = 0;  // index into activities_, plus 1; 0: none was seen
  };
  struct Activity {
    int32_t kind;
    uint32_t correlation;
    int64_t start;  // on the collector's clock
    int64_t duration;
    int64_t bytes;
    int32_t device;
    uint32_t name;
    uint32_t graph;
  };
  struct Clock {
    int64_t trace;
    int64_t collector;
  };

  int64_t ToTrace(int64_t collector) const;
  void Use(size_t activity);
  void Order(const Timeline& timeline);
  void Audit(const Timeline& timeline);

  const Tables& tables_;
  GpuTime result_;
  std::vector<Clock> clocks_;
  std::vector<Activity> activities_;
  std::vector<trace::CuptiMemory> memory_;
  absl::flat_hash_map<uint64_t, Launched> launches_;
  absl::flat_hash_map<uint32_t, uint64_t> launch_of_;  // by correlation
};

// NVTX's ranges: pushes and pops by thread, starts and ends by number.
class NamedRanges {
 public:
  void OnRange(int64_t time, uint32_t thread, const trace::NvtxRange& event, const Tables& tables);
  std::vector<NamedRange> Take() { return std::move(ranges_); }

 private:
  std::vector<NamedRange> ranges_;
  absl::flat_hash_map<uint32_t, std::vector<size_t>> pushed_;  // by thread
  absl::flat_hash_map<uint64_t, size_t> started_;              // by number
};

}  // namespace oomtrace
