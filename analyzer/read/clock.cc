#include "analyzer/read/clock.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

// The two clocks of a pair are read one after the other, and the slope is measured: a second, or a hundredth of the
// time since the start, is more than either can be wrong by.
constexpr int64_t kToleranceNs = 1'000'000'000;
constexpr int64_t kToleranceShare = 100;

int64_t Distance(int64_t a, int64_t b) { return a < b ? b - a : a - b; }

int64_t MonotonicSinceStart(const FileHeader& header, const Chunk& chunk) {
  if (chunk.base_monotonic_ns < header.start_monotonic_ns) return 0;
  const uint64_t since = chunk.base_monotonic_ns - header.start_monotonic_ns;
  return static_cast<int64_t>(std::min<uint64_t>(since, 4'000'000'000'000'000'000));
}

}  // namespace

TickClock::TickClock(const FileHeader& header, const std::vector<Chunk>& chunks) : start_ticks_(header.start_ticks) {
  std::vector<double> slopes;
  for (size_t i = chunks.size() * 2 / 3; i < chunks.size(); ++i) {
    const Chunk& chunk = chunks[i];
    if (chunk.kind == ChunkKind::kFold) continue;  // it bears the header's ticks
    if (chunk.base_ticks <= header.start_ticks || chunk.base_monotonic_ns <= header.start_monotonic_ns) continue;
    slopes.push_back(static_cast<double>(chunk.base_monotonic_ns - header.start_monotonic_ns) /
                     static_cast<double>(chunk.base_ticks - header.start_ticks));
  }
  if (slopes.empty()) return;
  const auto middle = slopes.begin() + static_cast<ptrdiff_t>(slopes.size() / 2);
  std::nth_element(slopes.begin(), middle, slopes.end());
  ns_per_tick_ = *middle;
}

int64_t TickClock::Nanoseconds(uint64_t ticks) const {
  if (ticks <= start_ticks_) return 0;
  const double ns = static_cast<double>(ticks - start_ticks_) * ns_per_tick_;
  constexpr double kMost = 4.0e18;  // below 2^62, so that differences of times do not overflow
  return static_cast<int64_t>(std::min(ns, kMost));
}

uint64_t TickClock::Ticks(int64_t nanoseconds) const {
  const double ticks = static_cast<double>(std::max<int64_t>(nanoseconds, 0)) / ns_per_tick_;
  return start_ticks_ + static_cast<uint64_t>(std::min(ticks, 4.0e18));
}

void RepairBaseTicks(const FileHeader& header, const TickClock& clock, std::vector<Chunk>* chunks, DamageLog* damage) {
  int64_t before = 0;
  for (Chunk& chunk : *chunks) {
    if (chunk.kind == ChunkKind::kFold) continue;
    const int64_t by_ticks = clock.Nanoseconds(chunk.base_ticks);
    const int64_t by_monotonic = MonotonicSinceStart(header, chunk);
    const int64_t tolerance = kToleranceNs + std::min(by_ticks, by_monotonic) / kToleranceShare;
    int64_t base = by_ticks;
    if (Distance(by_ticks, by_monotonic) > tolerance) {
      const bool ticks_wrong = Distance(by_monotonic, before) < Distance(by_ticks, before);
      if (ticks_wrong) {
        chunk.base_ticks = clock.Ticks(by_monotonic);
        base = by_monotonic;
      }
      damage->Add(absl::StrCat("chunk at byte ", chunk.offset, ": its two clocks disagree (", by_ticks / 1'000'000,
                               " ms and ", by_monotonic / 1'000'000, " ms after the start); ",
                               ticks_wrong ? "the monotonic one" : "the tick counter", " is used"));
    }
    before = base;
  }
}

}  // namespace oomtrace
