#include "analyzer/diagnose/leak_trend.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "analyzer/diagnose/states.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Three rises are the fewest that show a trend.
constexpr int64_t kFewestBirths = 3;
// Of parameters, with their gradients and states: a network that is grown a few times as planned is none.
constexpr int64_t kFewestOwnedBirths = 6;
// Of what does not stay: sizes that happen to rise do so for a few steps.
constexpr int64_t kFewestLastingRises = 8;
// Of what is added this share stays; where more goes, the level tells.
constexpr double kStays = 0.6;
// One that passes for so many that stay makes a queue.
constexpr int64_t kPassing = 4;
// What rises and falls again by more than this share of the whole growth shows no trend.
constexpr double kFalls = 0.25;
// A level that exceeds the highest one ever left again by less than this share has been there before.
constexpr double kAboveBefore = 1.05;
// Of a run that did not die: what was filled and emptied before may be filled a little further this time.
constexpr double kAboveEmptied = 3.0;
// A level that fell to this share of the highest before it was emptied.
constexpr double kEmptied = 0.25;
// Of a batch's length, what is quadratic in it grows with the square; and thirds of a run are compared roughly.
constexpr double kRoughly = 1.1;

}  // namespace

LeakTrend::LeakTrend(const Timeline& timeline, std::vector<Member> members, const std::vector<int64_t>& boundaries,
                     bool died)
    : timeline_(timeline),
      members_(std::move(members)),
      boundaries_(boundaries),
      last_(static_cast<int64_t>(boundaries.size()) - 1),
      partly_known_(
          std::lower_bound(boundaries.begin(), boundaries.end(), PartlyKnownUntil(timeline, boundaries.back())) -
          boundaries.begin()),
      died_(died) {}

// What a variable holds until it is bound again lives at one boundary, or at two.
bool LeakTrend::IsQueue() const {
  const auto passed = std::count_if(members_.begin(), members_.end(), [&](const Member& member) {
    return member.last <= last_ && member.last - member.first > 2;
  });
  const auto stay =
      std::count_if(members_.begin(), members_.end(), [&](const Member& member) { return member.last > last_; });
  return kPassing * passed >= stay;
}

bool LeakTrend::FitStaying(LeakGroup* group) {
  Rises births(Births(), {.last = last_, .fewest = AreOwned() ? kFewestOwnedBirths : kFewestBirths, .died = died_});
  if (!births.FindTail()) return false;
  const int64_t start = births.first().boundary;
  const bool partly_known = IsPartlyKnown(start);
  BuildLevels(false, /*survivors_only=*/partly_known);
  const int64_t growth = LevelAt(last_) - LevelAt(start);
  // In a bounded queue as much died as was born, so that the level did not follow the births.
  if (static_cast<double>(growth) < kStays * static_cast<double>(births.added_behind_first()) || growth <= 0)
    return false;
  if (partly_known && static_cast<double>(LiveAt(last_) - LiveAt(start)) < kStays * static_cast<double>(growth))
    return false;
  if (WasAsHighBefore(start, growth)) return false;
  if (!IsNew(start) || !PickExample()) return false;
  group->growth = LeakGrowth::kStaying;
  FillTotal(births, group);
  return true;
}

bool LeakTrend::FitRenewed(const BatchGrowthSince& batch_growth, LeakGroup* group) {
  if (last_ < kFewestLastingRises || members_.size() < static_cast<size_t>(kFewestLastingRises)) return false;
  BuildLevels(true, /*survivors_only=*/false);
  ForgetPartlyKnown();
  Rises rises(LastingRises(), {.last = last_, .fewest = kFewestLastingRises, .died = died_});
  if (!rises.FindTail()) return false;
  const int64_t start = rises.first().boundary;
  const int64_t growth = LevelAt(last_) - LevelAt(start);
  if (static_cast<double>(DeepestFall()) > kFalls * static_cast<double>(growth)) return false;
  if (WasAsHighBefore(start, growth)) return false;
  if (!IsNew(start) || FollowsBatch(start, batch_growth(start)) || !PickExample()) return false;
  int64_t newest = 0;
  for (const Member& member : members_) newest += member.last > last_ && member.first == last_ ? 1 : 0;
  const int64_t alive = CountAt(last_);
  // The one replaced may still be alive at a boundary or two: then as many were alive before.
  const bool one = alive == CountAt(start) || alive <= 2;
  group->growth = one ? LeakGrowth::kReplaced : 2 * newest > alive ? LeakGrowth::kMadeAnew : LeakGrowth::kQueued;
  // Of one tensor that is replaced what was asked for tells the growth; many fill the card with their blocks.
  if (!one) BuildLevels(false, /*survivors_only=*/false);
  FillTotal(rises, group);
  if (one) {
    // Of those alive only as many stay as are born between two boundaries.
    const double born = static_cast<double>(members_.size()) / static_cast<double>(last_ + 1 - members_.front().first);
    const double stays = std::min(1.0, std::max(1.0, std::round(born)) / static_cast<double>(alive));
    group->total = static_cast<int64_t>(static_cast<double>(group->total) * stays);
    group->bytes_per_boundary *= stays;
    group->tensors_per_boundary = 0;
  }
  return true;
}

// Bytes per boundary from the first addition to the last. What was there when it began to grow is no part of the leak,
// beyond one addition.
void LeakTrend::FillTotal(const Rises& rises, LeakGroup* group) const {
  const int64_t start = rises.first().boundary;
  const int64_t growth = LevelAt(last_) - LevelAt(start);
  const auto span = static_cast<double>(rises.last().boundary - start + (IsFolded(start) ? timeline_.lost_steps : 0));
  group->bytes_per_boundary = static_cast<double>(growth) / span;
  group->tensors_per_boundary = static_cast<double>(CountAt(last_) - CountAt(start)) / span;
  const int64_t first = std::min(rises.first().bytes, LevelAt(start));
  group->total = growth + (first <= 2 * rises.median() ? first : 0);
  group->since = start;
  group->births = rises.count();
  group->example = example_;
}

// What survives at the last boundary, by the boundary that first saw it.
std::vector<Change> LeakTrend::Births() {
  std::map<int64_t, Change> births;
  for (const Member& member : members_) {
    if (member.last <= last_) continue;
    Change& change = births.try_emplace(member.first, Change{member.first, 0, 0}).first->second;
    change.bytes += timeline_.tensors[member.tensor].bytes;
    ++change.tensors;
  }
  std::vector<Change> all;
  for (const auto& [boundary, change] : births) all.push_back(change);
  return all;
}

// Rises of the level that it never came back from.
std::vector<Change> LeakTrend::LastingRises() const {
  std::vector<Change> rises;
  Change lowest = levels_.back();
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    const auto before = std::next(level);
    const int64_t below = before == levels_.rend() ? 0 : before->bytes;
    if (level->bytes < lowest.bytes) lowest = *level;
    if (below < lowest.bytes)
      rises.push_back({level->boundary, lowest.bytes - below, before == levels_.rend() ? lowest.tensors : 0});
  }
  std::reverse(rises.begin(), rises.end());
  return rises;
}

// The largest that survives. It is to show a shape: one whose layout fills its block comes before one with somebody
// else's.
bool LeakTrend::PickExample() {
  int64_t shown = -1;
  for (const Member& member : members_) {
    if (member.last <= last_) continue;
    const Tensor& tensor = timeline_.tensors[member.tensor];
    const int64_t known = std::min(tensor.bytes, timeline_.layouts[tensor.layout].bytes);
    if (known <= shown) continue;
    shown = known;
    example_ = member.tensor;
  }
  return shown >= 0;
}

// Of what was freed in the folded part, or lived too shortly to have a record, the levels miss it: they count from
// where all is known.
void LeakTrend::ForgetPartlyKnown() {
  const int64_t begin = std::min(partly_known_, last_);
  if (begin == 0 || At(begin) == nullptr) return;
  const Change level = *At(begin);
  std::erase_if(levels_, [&](const Change& other) { return other.boundary <= begin; });
  levels_.insert(levels_.begin(), {begin, level.bytes, level.tensors});
}

// How far the level ever fell from the highest before.
int64_t LeakTrend::DeepestFall() const {
  int64_t highest = 0, deepest = 0;
  for (const Change& level : levels_) {
    highest = std::max(highest, level.bytes);
    deepest = std::max(deepest, highest - level.bytes);
  }
  return deepest;
}

// Whether the growth is that of the batches, or of their square as a mask's is.
bool LeakTrend::FollowsBatch(int64_t start, double batch_growth) const {
  const int64_t third = (last_ - start) / 3;
  int64_t early = LevelAt(start), late = 0;
  for (const Change& level : levels_) {
    if (level.boundary >= start && level.boundary <= start + third) early = std::max(early, level.bytes);
    if (level.boundary > last_ - third) late = std::max(late, level.bytes);
  }
  return batch_growth > 1 &&
         static_cast<double>(late) <= kRoughly * batch_growth * batch_growth * static_cast<double>(early);
}

// Whether most of what survives is a model's.
bool LeakTrend::AreOwned() const {
  int64_t owned = 0, all = 0;
  for (const Member& member : members_) {
    const Tensor& tensor = timeline_.tensors[member.tensor];
    if (member.last <= last_) continue;
    all += tensor.bytes;
    if (IsParameterState(tensor.category) && tensor.category != Category::kSecondCopy) owned += tensor.bytes;
  }
  return 2 * owned > all;
}

// What was asked for where the shape tells, else the block: one from the cache may be up to a segment's rest larger.
int64_t LeakTrend::Asked(const Tensor& tensor) const {
  const int64_t asked = timeline_.layouts[tensor.layout].bytes;
  return asked < tensor.bytes && 2 * asked >= tensor.bytes ? asked : tensor.bytes;
}

// Whether the trace was folded behind this boundary: some steps before it may be counted only.
bool LeakTrend::IsFolded(int64_t boundary) const {
  return boundary < static_cast<int64_t>(timeline_.steps.size()) &&
         timeline_.steps[static_cast<size_t>(boundary)].end < timeline_.folded_until;
}

// Of all tensors, as the steps have it: a bounded queue has survivors of late, and is as long as before.
int64_t LeakTrend::LiveAt(int64_t boundary) const {
  const auto i = static_cast<size_t>(boundary);
  const bool step = i < timeline_.steps.size() && timeline_.steps[i].end == boundaries_[i];
  return step ? timeline_.steps[i].live_at_end : TensorBytes(timeline_, timeline_.device, boundaries_[i]);
}

// Where not all that was freed is on record: whether memory has grown about as far before, and has come back down to
// where this growth began. A list that each epoch fills anew does.
bool LeakTrend::WasAsHighBefore(int64_t start, int64_t growth) const {
  const auto steps = static_cast<int64_t>(timeline_.steps.size());
  if (partly_known_ == 0 || last_ >= steps) return false;
  int64_t highest = 0;
  for (int64_t boundary = 0; boundary < start; ++boundary) highest = std::max(highest, LiveAt(boundary));
  const double above = died_ ? kAboveBefore : kAboveEmptied;
  return above * static_cast<double>(highest - LiveAt(start)) >= static_cast<double>(growth);
}

void LeakTrend::BuildLevels(bool asked, bool survivors_only) {
  levels_.clear();
  std::map<int64_t, Change> changes;
  const auto add = [&](int64_t boundary, int64_t bytes, int64_t tensors) {
    Change& change = changes.try_emplace(boundary, Change{boundary, 0, 0}).first->second;
    change.bytes += bytes;
    change.tensors += tensors;
  };
  for (const Member& member : members_) {
    const Tensor& tensor = timeline_.tensors[member.tensor];
    if (survivors_only && member.last <= last_) continue;
    const int64_t bytes = asked ? Asked(tensor) : tensor.bytes;
    add(member.first, bytes, 1);
    if (member.last <= last_) add(member.last, -bytes, -1);
  }
  Change level{0, 0, 0};
  for (const auto& [boundary, change] : changes) {
    level = {boundary, level.bytes + change.bytes, level.tensors + change.tensors};
    levels_.push_back(level);
  }
}

const Change* LeakTrend::At(int64_t boundary) const {
  const auto next = std::upper_bound(levels_.begin(), levels_.end(), boundary,
                                     [](int64_t b, const Change& level) { return b < level.boundary; });
  return next == levels_.begin() ? nullptr : &*std::prev(next);
}

// Whether the level is above all that it ever came back from, before the boundary. Measured from the lowest level:
// the same line may have made a workspace that stays.
bool LeakTrend::IsNew(int64_t boundary) const {
  int64_t highest = 0;
  int64_t lowest_since = 0;
  int64_t floor = LevelAt(last_);
  for (const Change& level : levels_) {
    if (level.boundary > boundary) break;
    if (level.bytes > highest && level.boundary < boundary) highest = lowest_since = level.bytes;
    lowest_since = std::min(lowest_since, level.bytes);
    floor = std::min(floor, level.bytes);
  }
  const auto before = static_cast<double>(highest - floor);
  const bool emptied = static_cast<double>(lowest_since - floor) < kEmptied * before;
  const double above = emptied && !died_ ? kAboveEmptied : kAboveBefore;
  return static_cast<double>(LevelAt(last_) - floor) > above * before;
}

}  // namespace oomtrace
