#include "analyzer/timeline/selection.h"

#include <algorithm>
#include <array>
#include <bit>

namespace oomtrace {
namespace {

// What rises and falls by less is a ripple: half of what the report counts as a peak (diagnose/peaks.cc), of the
// highest so far.
constexpr int64_t kProminence = 100;
constexpr size_t kRefusals = 8;  // the last ones; a program that catches them may have thousands

size_t Before(size_t tensor, size_t births) { return tensor - std::min(tensor, births); }

}  // namespace

size_t Selection::count() const { return static_cast<size_t>(std::count(kept_.begin(), kept_.end(), true)); }

void PeakSurvey::OnBirth(const Peak& level) {
  overall_ = std::max(overall_, level.bytes);
  if (!rising_ && level.bytes >= lowest_ + std::max<int64_t>(1, overall_ / kProminence)) {
    rising_ = true;
    highest_ = {};
  }
  if (rising_ && level.bytes > highest_.bytes) highest_ = level;
}

void PeakSurvey::OnDeath(int64_t bytes) {
  if (!rising_) {
    lowest_ = std::min(lowest_, bytes);
  } else if (bytes <= highest_.bytes - std::max<int64_t>(1, overall_ / kProminence)) {
    Close();
    rising_ = false;
    lowest_ = bytes;
  }
}

void PeakSurvey::OnEnd() {
  if (rising_ && highest_.bytes > 0) Close();
  rising_ = false;
}

void PeakSurvey::Close() {
  Peak& known = by_stack_[highest_.stack];
  if (highest_.bytes > known.bytes) known = highest_;
}

std::vector<PeakSurvey::Peak> PeakSurvey::Highest() const {
  std::vector<Peak> peaks;
  for (const auto& [stack, peak] : by_stack_) peaks.push_back(peak);
  std::sort(peaks.begin(), peaks.end(),
            [](const Peak& a, const Peak& b) { return a.bytes != b.bytes ? a.bytes > b.bytes : a.tensor < b.tensor; });
  if (peaks.size() > kMost) peaks.resize(kMost);
  return peaks;
}

LifeSurvey::DeviceState& LifeSurvey::Device(int32_t device) {
  for (auto& [index, state] : devices_)
    if (index == device) return *state;
  return *devices_.emplace_back(device, std::make_unique<DeviceState>()).second;
}

void LifeSurvey::End(int64_t tensor) {
  const auto born = static_cast<size_t>(tensor);
  lives_[born] = static_cast<uint8_t>(std::bit_width(lives_.size() - 1 - born));
}

void LifeSurvey::Note(const TensorAllocEvent& event, size_t tensor) {
  Statement& statement =
      statements_.try_emplace(event.stack, Statement{.first = tensor, .most = 0, .records = {}}).first->second;
  if (event.layout == 0 || event.bytes <= statement.most) return;
  statement.most = event.bytes;
  if (statement.records.size() == kRecords) statement.records.erase(statement.records.begin());
  statement.records.push_back(static_cast<uint32_t>(tensor));
}

void LifeSurvey::OnTensorAlloc(const TensorAllocEvent& event) {
  const size_t tensor = lives_.size();
  if (tensor % kEach == 0) times_.push_back(event.time);
  last_time_ = event.time;
  lives_.push_back(kToTheEnd);
  Note(event, tensor);
  DeviceState& state = Device(event.device);
  for (const int64_t gone : state.live.Add(event.address, event.bytes, static_cast<int64_t>(tensor))) End(gone);
  state.peaks.OnBirth({state.live.bytes(), tensor, event.stack});
}

void LifeSurvey::OnTensorFree(const TensorFreeEvent& event) {
  DeviceState* state = &Device(event.device);
  int64_t tensor = state->live.Remove(event.address);
  // A pluggable allocator is not told of which device it takes memory back.
  for (auto other = devices_.begin(); tensor < 0 && other != devices_.end(); ++other) {
    state = other->second.get();
    tensor = state->live.Remove(event.address);
  }
  if (tensor < 0) return;
  End(tensor);
  state->peaks.OnDeath(state->live.bytes());
}

void LifeSurvey::OnOutOfMemory(const OutOfMemoryEvent& event) { refusals_.push_back(lives_.size()); }

void LifeSurvey::OnTensorRole(const TensorRoleEvent& event) {
  if (const int64_t tensor = Device(event.device).live.Find(event.address); tensor >= 0)
    named_.push_back(static_cast<uint32_t>(tensor));
}

void LifeSurvey::OnHolder(const HolderEvent& event) {
  for (const auto& [index, state] : devices_) {
    if (const int64_t tensor = state->live.Find(event.address); tensor >= 0)
      named_.push_back(static_cast<uint32_t>(tensor));
  }
}

void LifeSurvey::OnLaunch(int64_t time, const trace::Launch& event) {
  if (!launched_) launches_.begin = lives_.size();
  launched_ = true;
  launches_.end = lives_.size();
}

// In order, without overlaps.
std::vector<LifeSurvey::Range> LifeSurvey::Ranges(const SelectionLimits& limits) const {
  const size_t all = lives_.size();
  const size_t longest = size_t{1} << limits.longest;
  std::vector<Range> ranges = {{0, limits.at_start}, {Before(all, limits.at_end + longest), all}};
  const auto around = [&](size_t moment, size_t before) {
    ranges.push_back({Before(moment, before + longest), moment + limits.behind});
  };
  for (size_t i = Before(refusals_.size(), kRefusals); i < refusals_.size(); ++i)
    around(refusals_[i], i + 1 == refusals_.size() ? limits.at_end : limits.around);
  for (const auto& [index, state] : devices_)
    for (const PeakSurvey::Peak& peak : state->peaks.Highest()) around(peak.tensor, limits.around);
  if (launched_) {
    const size_t begin = std::max(launches_.begin, Before(launches_.end, limits.gpu_timeline));
    ranges.push_back({Before(begin, longest), launches_.end + limits.behind});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> merged;
  for (Range range : ranges) {
    range.end = std::min(range.end, all);
    if (!merged.empty() && range.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

// The shortest life, as the log2 of births, that is kept outside of the ranges.
int LifeSurvey::TooShort(const std::vector<Range>& ranges, const SelectionLimits& limits) const {
  std::array<size_t, UINT8_MAX + 1> lived{};
  size_t at = 0;
  for (const Range& range : ranges) {
    for (; at < range.begin; ++at) ++lived[lives_[at]];
    at = range.end;
  }
  size_t kept = lived[kToTheEnd];
  int shortest = kToTheEnd;
  while (shortest > 0 &&
         (shortest > limits.longest + 1 || kept + lived[static_cast<size_t>(shortest) - 1] <= limits.long_lived))
    kept += lived[static_cast<size_t>(--shortest)];
  return shortest;
}

// At most kEach births later than when it was: of a stretch's begin that is on the safe side.
int64_t LifeSurvey::TimeOf(size_t tensor) const {
  const size_t next = (tensor + kEach - 1) / kEach;
  return next < times_.size() ? times_[next] : last_time_;
}

Selection LifeSurvey::Select(const SelectionLimits& limits) {
  if (lives_.size() <= limits.most) return {};
  for (const auto& [index, state] : devices_) state->peaks.OnEnd();
  const std::vector<Range> ranges = Ranges(limits);
  const int shortest = TooShort(ranges, limits);
  std::vector<bool> kept(lives_.size());
  for (size_t i = 0; i < lives_.size(); ++i) kept[i] = lives_[i] >= shortest;
  for (const uint32_t tensor : named_) kept[tensor] = true;
  for (const auto& [stack, statement] : statements_) {
    kept[statement.first] = true;
    for (const uint32_t tensor : statement.records) kept[tensor] = true;
  }
  std::vector<Stretch> whole;
  for (const Range& range : ranges) {
    std::fill(kept.begin() + static_cast<ptrdiff_t>(range.begin), kept.begin() + static_cast<ptrdiff_t>(range.end),
              true);
    // Who lived at its begin and was not kept is gone so many births later.
    const size_t known = range.begin == 0 || shortest == 0 ? range.begin : range.begin + (size_t{1} << (shortest - 1));
    const bool to_the_end = range.end == lives_.size();
    const int64_t end = to_the_end ? kNever : times_[range.end / kEach];
    if (known < range.end) whole.push_back({known == 0 ? 0 : TimeOf(known), end});
  }
  lives_ = {};
  return {std::move(kept), std::move(whole)};
}

}  // namespace oomtrace
