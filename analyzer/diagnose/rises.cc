#include "analyzer/diagnose/rises.h"

#include <algorithm>
#include <cmath>

namespace oomtrace {
namespace {

// Few amounts show a trend only where they are alike, within a factor of two of their median.
constexpr double kAlike = 2.0;
// From so many on, batches of unequal length may leak unequal amounts, if they go on leaking as much: in the last third
// of the time at least this share of what an even growth would have added, and no half of it at once.
constexpr int64_t kManyBirths = 9;
constexpr double kGoesOn = 0.4;
// A leak may end shortly before the death, in so small a part of its time: the thread that leaked was refused first.
constexpr int64_t kNearDeath = 16;
// Between two additions, as a share of the time: a longer one divides what came before from what goes on.
constexpr int64_t kPause = 16;
// Of a run that did not die, additions this few are a leak only where they fill half of the time: a handful at the end
// is something loaded then.
constexpr int64_t kHandful = 4;

}  // namespace

bool Rises::FindTail() {
  if (static_cast<int64_t>(all_.size()) < rules_.fewest) return false;
  std::vector<int64_t> gaps;
  for (size_t i = 1; i < all_.size(); ++i) gaps.push_back(all_[i].boundary - all_[i - 1].boundary);
  std::vector<int64_t> sorted = gaps;
  std::sort(sorted.begin(), sorted.end());
  const int64_t gap = sorted[sorted.size() / 2];
  const int64_t wide = sorted[(sorted.size() - 1) * 3 / 4];
  const int64_t quiet = rules_.last - all_.back().boundary;
  const int64_t near_death = rules_.died ? (rules_.last - all_.front().boundary) / kNearDeath : 0;
  if (2 * quiet >= 3 * wide && quiet > near_death) return false;
  tail_ = all_.size() - 1;
  // A thread of its own may lag behind the steps: a pause that is short beside all the time is none.
  const int64_t pause = std::max(3 * wide, (rules_.last - all_.front().boundary) / kPause);
  while (tail_ > 0 && gaps[tail_ - 1] <= pause) --tail_;
  if (count() < rules_.fewest || (!rules_.died && AreABurst(pause))) return false;
  if (2 * wide > 3 * gap && GrowRarer()) return false;
  return AreAlike() || (count() >= kManyBirths && GoOn());
}

int64_t Rises::added_behind_first() const {
  int64_t added = 0;
  for (auto rise = Tail() + 1; rise != all_.end(); ++rise) added += rise->bytes;
  return added;
}

int64_t Rises::median() const {
  std::vector<int64_t> sizes;
  for (auto rise = Tail(); rise != all_.end(); ++rise) sizes.push_back(rise->bytes);
  std::nth_element(sizes.begin(), sizes.begin() + count() / 2, sizes.end());
  return sizes[static_cast<size_t>(count() / 2)];
}

bool Rises::AreAlike() const {
  const auto middle = static_cast<double>(median());
  const int64_t alike = std::count_if(Tail(), all_.end(), [&](const Change& rise) {
    return static_cast<double>(rise.bytes) >= middle / kAlike && static_cast<double>(rise.bytes) <= middle * kAlike;
  });
  return alike * 10 >= count() * 7;
}

Rises::Thirds Rises::InThirds() const {
  Thirds thirds;
  const int64_t begin = first().boundary;
  const int64_t span = rules_.last + 1 - begin;
  std::for_each(Tail(), all_.end(), [&](const Change& rise) {
    const auto third = static_cast<size_t>(3 * (rise.boundary - begin) / span);
    thirds.births[third] += 1;
    thirds.bytes[third] += static_cast<double>(rise.bytes);
    thirds.largest = std::max(thirds.largest, static_cast<double>(rise.bytes));
  });
  return thirds;
}

// A cache that meets its keys by chance fills ever more slowly. One standard deviation is left to chance.
bool Rises::GrowRarer() const {
  const Thirds thirds = InThirds();
  return thirds.births[2] + std::sqrt(thirds.births[2]) < thirds.births[0];
}

bool Rises::GoOn() const {
  const Thirds thirds = InThirds();
  const double all = thirds.bytes[0] + thirds.bytes[1] + thirds.bytes[2];
  return 3 * thirds.bytes[2] >= kGoesOn * all && 3 * thirds.bytes[0] >= kGoesOn * all / 2 && 2 * thirds.largest <= all;
}

// What is loaded once more, no longer than it took the first time, or a handful in the last part of the run. What has
// paused more often goes on and on.
bool Rises::AreABurst(int64_t pause) const {
  if (count() <= kHandful && 2 * (rules_.last - first().boundary) < rules_.last) return true;
  if (tail_ < 2 || static_cast<int64_t>(tail_) < count()) return false;
  for (size_t i = 1; i < tail_; ++i) {
    if (all_[i].boundary - all_[i - 1].boundary > pause) return false;
  }
  return true;
}

}  // namespace oomtrace
