// Which tensors of a trace get a record of their own on the timeline, so that a trace of any length is analysed in
// bounded memory.
//
// A trace of up to SelectionLimits::most tensors keeps all. Of a longer one are kept: every tensor born near the start,
// near the end, near a refusal, near the highest peaks and where a GPU timeline was recorded; everywhere, those that
// lived long, that live at the end, that an owner or a holder was named for, and of each statement the first and the
// largest. The others were short-lived and lie between: they count in the levels of memory, in the steps and in the
// phases, and nowhere else.
//
// Times are nanoseconds of the trace, sizes are bytes. A first reading of the trace surveys the lives (one byte a
// tensor), the second keeps what the selection says. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/events.h"
#include "analyzer/timeline/live_set.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct SelectionLimits {
  size_t most = size_t{1} << 21;          // tensors that are all kept: 0.2 GiB of records
  size_t at_start = size_t{1} << 18;      // tensors
  size_t at_end = size_t{1} << 20;        // tensors before the end, and before the last refusal
  size_t around = size_t{1} << 15;        // tensors before another moment, beyond `longest`
  size_t behind = size_t{1} << 12;        // tensors after such a moment
  size_t gpu_timeline = size_t{1} << 20;  // the last tensors while launches were recorded
  size_t long_lived = size_t{1} << 19;    // tensors between these
  int longest = 16;  // who outlives 2^longest other births is always kept: before a moment lie so many and more
};

// The outcome: what BuildTimeline asks for tensor by tensor, in order of birth.
class Selection {
 public:
  // All are kept.
  Selection() = default;
  Selection(std::vector<bool> kept, std::vector<Stretch> whole) : kept_(std::move(kept)), whole_(std::move(whole)) {}

  bool all() const { return kept_.empty(); }
  bool Keeps(size_t tensor) const { return kept_.empty() || (tensor < kept_.size() && kept_[tensor]); }
  // When every tensor that lived is kept, in order of time; empty: always.
  const std::vector<Stretch>& whole() const { return whole_; }
  size_t count() const;

 private:
  std::vector<bool> kept_;  // by number of birth
  std::vector<Stretch> whole_;
};

// The highest peak that the tensors of one device reached under each of the statements that allocate.
class PeakSurvey {
 public:
  struct Peak {
    int64_t bytes = 0;
    size_t tensor = 0;  // whose birth made it
    uint32_t stack = 0;
  };

  void OnBirth(const Peak& level);
  void OnDeath(int64_t bytes);
  // The last one is a peak, too.
  void OnEnd();

  // Highest first, one a stack, at most kMost.
  std::vector<Peak> Highest() const;

 private:
  static constexpr size_t kMost = 8;

  void Close();

  Peak highest_;  // since memory began to rise
  int64_t lowest_ = 0;
  int64_t overall_ = 0;
  bool rising_ = true;
  absl::flat_hash_map<uint32_t, Peak> by_stack_;
};

// The first reading.
class LifeSurvey : public EventSink {
 public:
  void OnTensorAlloc(const TensorAllocEvent& event) override;
  void OnTensorFree(const TensorFreeEvent& event) override;
  void OnOutOfMemory(const OutOfMemoryEvent& event) override;
  void OnTensorRole(const TensorRoleEvent& event) override;
  void OnHolder(const HolderEvent& event) override;
  void OnLaunch(int64_t time, const trace::Launch& event) override;

  // Of the caching allocator's reports.
  size_t tensors() const { return lives_.size(); }
  // Once. The survey is spent afterwards.
  Selection Select(const SelectionLimits& limits);

 private:
  struct Range {
    size_t begin = 0;  // numbers of births
    size_t end = 0;
  };
  struct DeviceState {
    LiveSet live;
    PeakSurvey peaks;
  };

  // What shows that a statement ran before, and what it made at most.
  struct Statement {
    size_t first = 0;
    int64_t most = 0;
    std::vector<uint32_t> records;  // each larger than those before it: the last kRecords
  };

  DeviceState& Device(int32_t device);
  void End(int64_t tensor);
  void Note(const TensorAllocEvent& event, size_t tensor);
  std::vector<Range> Ranges(const SelectionLimits& limits) const;
  int TooShort(const std::vector<Range>& ranges, const SelectionLimits& limits) const;
  int64_t TimeOf(size_t tensor) const;

  static constexpr size_t kEach = 256;  // births to a time that is noted
  static constexpr uint8_t kToTheEnd = UINT8_MAX;
  static constexpr size_t kRecords = 8;  // the largest of all may be of the batch that died: then those before it count

  std::vector<std::pair<int32_t, std::unique_ptr<DeviceState>>> devices_;  // few
  std::vector<uint8_t> lives_;  // log2 of the births that each outlived; kToTheEnd
  std::vector<int64_t> times_;  // of every kEach-th birth, and of the last
  int64_t last_time_ = 0;
  std::vector<size_t> refusals_;  // births before each
  Range launches_;                // births before the first and the last one
  bool launched_ = false;
  std::vector<uint32_t> named_;
  absl::flat_hash_map<uint32_t, Statement> statements_;  // by stack
};

}  // namespace oomtrace
