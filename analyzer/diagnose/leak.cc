#include "analyzer/diagnose/leak.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <unordered_map>
#include <utility>

#include "analyzer/attribute/batch_growth.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Three rises are the fewest that show a trend.
constexpr int64_t kFewestBirths = 3;
// Of parameters, with their gradients and states: a network that is grown a few times as planned is none.
constexpr int64_t kFewestOwnedBirths = 6;
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
// A level that exceeds the highest one ever left again by less than this share has been there before.
constexpr double kAboveBefore = 1.05;
// Of a run that did not die: what was filled and emptied before may be filled a little further this time.
constexpr double kAboveEmptied = 3.0;
// A level that fell to this share of the highest before it was emptied.
constexpr double kEmptied = 0.25;
// Below this a rise is bookkeeping (a counter, a scalar logged once): it cannot fill a device in any run's life.
constexpr int64_t kWorthReporting = 64 << 10;
// A tensor replaced by a larger one is common for a few steps; for so many it is a growth.
constexpr int64_t kReplacedBoundaries = 8;

struct Change {
  int64_t boundary;
  int64_t bytes;
  int64_t tensors;
};

struct Member {
  int64_t first;  // first and one past the last boundary at which it was alive
  int64_t last;
  uint32_t tensor;
};

// What one statement made and what still lived at a boundary.
struct Statement {
  std::vector<Member> members;
  std::set<uint32_t> stacks;
};

std::vector<int64_t> Boundaries(const Timeline& timeline, int64_t until, bool& steps) {
  std::vector<int64_t> times;
  for (const Step& step : timeline.steps) {
    if (step.end <= until) times.push_back(step.end);
  }
  steps = times.size() >= static_cast<size_t>(kFewestBirths);
  if (steps) return times;
  times.clear();
  bool backward = false;
  for (const PhaseMark& mark : timeline.phases) {
    if (mark.time > until) break;
    if (backward && mark.phase != PhaseKind::kBackward) times.push_back(mark.time);
    backward = mark.phase == PhaseKind::kBackward;
  }
  return times;
}

class GroupTrend {
 public:
  GroupTrend(const Timeline& timeline, std::vector<Member> members, int64_t boundaries, bool died)
      : timeline_(timeline), members_(std::move(members)), last_(boundaries - 1), died_(died) {}

  // Fills `group` and returns true when the group leaks.
  bool Fit(LeakGroup& group) {
    CollectBirths();
    if (!FindTail()) return false;
    const int64_t start = births_[tail_].boundary;
    const int64_t end = births_.back().boundary;
    const bool folded = IsFolded(start);
    BuildLevels(false, folded);
    const int64_t level_start = LevelAt(start);
    const int64_t growth = LevelAt(last_) - level_start;
    int64_t added = 0;
    for (size_t i = tail_ + 1; i < births_.size(); ++i) added += births_[i].bytes;
    // In a bounded queue as much died as was born, so that the level did not follow the births.
    if (growth < 0.6 * static_cast<double>(added) || growth <= 0) return false;
    if (folded && static_cast<double>(LiveGrowthSince(start)) < 0.6 * static_cast<double>(growth)) return false;
    if (!IsNew(start)) return false;
    const auto span = static_cast<double>(end - start + (folded ? timeline_.lost_steps : 0));
    group.bytes_per_boundary = static_cast<double>(growth) / span;
    group.tensors_per_boundary = static_cast<double>(CountAt(last_) - CountAt(start)) / span;
    group.total = growth + std::min(births_[tail_].bytes, level_start);
    group.since = start;
    group.births = static_cast<int64_t>(births_.size() - tail_);
    group.example = largest_;
    return true;
  }

  // A tensor that a larger one replaces between each two boundaries, as `bank = torch.cat([bank, new])` does: bytes
  // rise by like amounts, their number does not.
  bool FitReplaced(LeakGroup& group) {
    if (last_ < kReplacedBoundaries || members_.size() < static_cast<size_t>(kReplacedBoundaries)) return false;
    BuildLevels(true, /*survivors_only=*/false);
    std::vector<int64_t> rises;
    int64_t since = last_;
    while (since > 0 && CountAt(since - 1) == CountAt(last_) && LevelAt(since) > LevelAt(since - 1)) {
      rises.push_back(LevelAt(since) - LevelAt(since - 1));
      --since;
    }
    const int64_t count = static_cast<int64_t>(rises.size());
    if (count < kReplacedBoundaries || 2 * count < last_) return false;
    std::nth_element(rises.begin(), rises.begin() + count / 2, rises.end());
    const auto median = static_cast<double>(rises[static_cast<size_t>(count / 2)]);
    const int64_t alike = std::count_if(rises.begin(), rises.end(), [&](int64_t rise) {
      return static_cast<double>(rise) >= median / kAlike && static_cast<double>(rise) <= median * kAlike;
    });
    if (alike * 10 < count * 9) return false;
    group.replaced = true;
    group.total = LevelAt(last_) - LevelAt(since);
    // The one replaced may still be alive at a boundary or two: of those alive only as many stay as are born between
    // two boundaries.
    const double born = static_cast<double>(members_.size()) / static_cast<double>(last_ + 1 - members_.front().first);
    const double stays = std::min(1.0, std::max(1.0, std::round(born)) / static_cast<double>(CountAt(last_)));
    group.total = static_cast<int64_t>(static_cast<double>(group.total) * stays);
    group.bytes_per_boundary = static_cast<double>(group.total) / static_cast<double>(count);
    group.since = since;
    group.births = count;
    for (const Member& member : members_) {
      if (member.last > last_ &&
          (largest_ == kNone || timeline_.tensors[member.tensor].bytes > timeline_.tensors[largest_].bytes))
        largest_ = member.tensor;
    }
    group.example = largest_;
    return largest_ != kNone;
  }

 private:
  // What survives at the last boundary, by the boundary that first saw it.
  void CollectBirths() {
    std::map<int64_t, Change> births;
    for (const Member& member : members_) {
      if (member.last <= last_) continue;
      const int64_t bytes = timeline_.tensors[member.tensor].bytes;
      Change& change = births.try_emplace(member.first, Change{member.first, 0, 0}).first->second;
      change.bytes += bytes;
      ++change.tensors;
      // The example is to show a shape: one whose layout fills its block comes before one with somebody else's.
      const int64_t known = std::min(bytes, timeline_.layouts[timeline_.tensors[member.tensor].layout].bytes);
      if (largest_ == kNone || known > shown_) {
        largest_ = member.tensor;
        shown_ = known;
      }
    }
    for (const auto& [boundary, change] : births) births_.push_back(change);
  }

  // The births at the end of the list that are evenly spaced, alike in size, and go on to the last boundary.
  bool FindTail() {
    if (static_cast<int64_t>(births_.size()) < kFewestBirths) return false;
    std::vector<int64_t> gaps;
    for (size_t i = 1; i < births_.size(); ++i) gaps.push_back(births_[i].boundary - births_[i - 1].boundary);
    std::vector<int64_t> sorted = gaps;
    std::sort(sorted.begin(), sorted.end());
    const int64_t gap = sorted[sorted.size() / 2];
    const int64_t wide = sorted[(sorted.size() - 1) * 3 / 4];
    const int64_t quiet = last_ - births_.back().boundary;
    const int64_t near_death = died_ ? (last_ - births_.front().boundary) / kNearDeath : 0;
    if (2 * quiet >= 3 * wide && quiet > near_death) return false;
    tail_ = births_.size() - 1;
    // A thread of its own may lag behind the steps: a pause that is short beside all the time is none.
    const int64_t pause = std::max(3 * wide, (last_ - births_.front().boundary) / kPause);
    while (tail_ > 0 && gaps[tail_ - 1] <= pause) --tail_;
    const int64_t count = static_cast<int64_t>(births_.size() - tail_);
    if (count < (AreOwned() ? kFewestOwnedBirths : kFewestBirths)) return false;
    if (2 * wide > 3 * gap && GrowRarer()) return false;
    return AreAlike() || (count >= kManyBirths && GoOn());
  }

  // Whether most of what survives is a model's.
  bool AreOwned() const {
    int64_t owned = 0, all = 0;
    for (const Member& member : members_) {
      const Tensor& tensor = timeline_.tensors[member.tensor];
      if (member.last <= last_) continue;
      all += tensor.bytes;
      if (IsParameterState(tensor.category) && tensor.category != Category::kSecondCopy) owned += tensor.bytes;
    }
    return 2 * owned > all;
  }

  bool AreAlike() const {
    const auto count = static_cast<int64_t>(births_.size() - tail_);
    std::vector<int64_t> sizes;
    for (size_t i = tail_; i < births_.size(); ++i) sizes.push_back(births_[i].bytes);
    std::nth_element(sizes.begin(), sizes.begin() + count / 2, sizes.end());
    const double median = static_cast<double>(sizes[static_cast<size_t>(count / 2)]);
    const int64_t alike = std::count_if(Tail(), births_.end(), [&](const Change& birth) {
      return birth.bytes >= median / kAlike && birth.bytes <= median * kAlike;
    });
    return alike * 10 >= count * 7;
  }

  // As many births, or as many bytes, in each third of the time.
  struct Thirds {
    std::array<double, 3> births{};
    std::array<double, 3> bytes{};
    double largest = 0;
  };
  Thirds InThirds() const {
    Thirds thirds;
    const int64_t begin = births_[tail_].boundary;
    const int64_t span = last_ + 1 - begin;
    std::for_each(Tail(), births_.end(), [&](const Change& birth) {
      const auto third = static_cast<size_t>(3 * (birth.boundary - begin) / span);
      thirds.births[third] += 1;
      thirds.bytes[third] += static_cast<double>(birth.bytes);
      thirds.largest = std::max(thirds.largest, static_cast<double>(birth.bytes));
    });
    return thirds;
  }

  // A cache that meets its keys by chance fills ever more slowly. One standard deviation is left to chance.
  bool GrowRarer() const {
    const Thirds thirds = InThirds();
    return thirds.births[2] + std::sqrt(thirds.births[2]) < thirds.births[0];
  }

  bool GoOn() const {
    const Thirds thirds = InThirds();
    const double all = thirds.bytes[0] + thirds.bytes[1] + thirds.bytes[2];
    return 3 * thirds.bytes[2] >= kGoesOn * all && 3 * thirds.bytes[0] >= kGoesOn * all / 2 &&
           2 * thirds.largest <= all;
  }

  std::vector<Change>::const_iterator Tail() const { return births_.begin() + static_cast<ptrdiff_t>(tail_); }

  // What was asked for where the shape tells, else the block: one from the cache may be up to a segment's rest larger.
  int64_t Asked(const Tensor& tensor) const {
    const int64_t asked = timeline_.layouts[tensor.layout].bytes;
    return asked < tensor.bytes && 2 * asked >= tensor.bytes ? asked : tensor.bytes;
  }

  // Whether the trace was folded behind this boundary: what was freed before is not in it, so that levels of then and
  // of now compare only by what has survived.
  bool IsFolded(int64_t boundary) const {
    return boundary < static_cast<int64_t>(timeline_.steps.size()) &&
           timeline_.steps[static_cast<size_t>(boundary)].end < timeline_.folded_until;
  }
  // Of all tensors, as the fold kept it: a bounded queue has survivors of late, and is as long as before.
  int64_t LiveGrowthSince(int64_t boundary) const {
    const auto last = std::min(static_cast<size_t>(last_), timeline_.steps.size() - 1);
    return timeline_.steps[last].live_at_end - timeline_.steps[static_cast<size_t>(boundary)].live_at_end;
  }

  void BuildLevels(bool asked, bool survivors_only) {
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

  const Change* At(int64_t boundary) const {
    const auto next = std::upper_bound(levels_.begin(), levels_.end(), boundary,
                                       [](int64_t b, const Change& level) { return b < level.boundary; });
    return next == levels_.begin() ? nullptr : &*std::prev(next);
  }
  int64_t LevelAt(int64_t boundary) const { return At(boundary) ? At(boundary)->bytes : 0; }
  int64_t CountAt(int64_t boundary) const { return At(boundary) ? At(boundary)->tensors : 0; }

  // Whether the level is above all that it ever came back from, before the boundary. Measured from the lowest level:
  // the same line may have made a workspace that stays.
  bool IsNew(int64_t boundary) const {
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

  static constexpr uint32_t kNone = ~0u;
  const Timeline& timeline_;
  std::vector<Member> members_;
  int64_t last_;
  bool died_;
  std::vector<Change> births_;
  std::vector<Change> levels_;
  size_t tail_ = 0;
  uint32_t largest_ = kNone;
  int64_t shown_ = 0;  // bytes of it that its layout explains
};

// Several tensors a step, made under grad mode, are a graph; one is an output. A scalar made under grad mode is a loss
// that brings its graph's nodes along, whatever memory they still hold.
bool KeepsGraph(const Timeline& timeline, const Leak& leak) {
  int64_t with_grad = 0;
  for (const LeakGroup& group : leak.groups) {
    const Tensor& tensor = timeline.tensors[group.example];
    if (tensor.grad_mode && !tensor.backward) with_grad += group.total;
  }
  if (2 * with_grad < leak.total) return false;
  const Tensor& largest = timeline.tensors[leak.groups.front().example];
  const Layout& layout = timeline.layouts[largest.layout];
  const bool scalar = layout.has_shape() && layout.shape.empty();
  return scalar || (leak.groups.size() >= 3 && leak.tensors_per_boundary > 2.5);
}

}  // namespace

std::set<uint32_t> Leak::stacks() const {
  std::set<uint32_t> all;
  for (const LeakGroup& group : groups) all.insert(group.stacks.begin(), group.stacks.end());
  return all;
}

void SumUp(const Timeline& timeline, Leak& leak) {
  leak.bytes_per_boundary = leak.tensors_per_boundary = 0;
  leak.total = 0;
  for (const LeakGroup& group : leak.groups) {
    leak.bytes_per_boundary += group.bytes_per_boundary;
    leak.tensors_per_boundary += group.tensors_per_boundary;
    leak.total += group.total;
  }
  leak.found = leak.total >= kWorthReporting;
  if (!leak.found) return;
  leak.since = leak.groups.front().since;
  leak.births = leak.groups.front().births;
  leak.replaced = leak.groups.front().replaced;
  leak.with_graph = KeepsGraph(timeline, leak);
}

std::vector<uint32_t> LeakedTensors(const Facts& facts, const Leak& leak) {
  const Timeline& t = *facts.timeline;
  std::vector<uint32_t> leaked;
  if (!leak.found || !leak.boundaries_are_steps || t.steps.empty()) return leaked;
  const std::set<uint32_t> stacks = leak.stacks();
  for (const uint32_t i : facts.live) {
    if (t.tensors[i].born <= t.steps.back().end && stacks.contains(t.tensors[i].stack)) leaked.push_back(i);
  }
  return leaked;
}

Leak FindLeak(const Timeline& timeline, int64_t until, bool died) {
  Leak leak;
  const std::vector<int64_t> boundaries = Boundaries(timeline, until, leak.boundaries_are_steps);
  const int64_t count = static_cast<int64_t>(boundaries.size());
  if (count < kFewestBirths) return leak;
  const auto seen_at = [&](int64_t time) {
    return std::lower_bound(boundaries.begin(), boundaries.end(), time) - boundaries.begin();
  };
  const std::vector<uint32_t> statement_of = SameStatements(timeline);
  std::unordered_map<uint32_t, Statement> statements;
  for (uint32_t i = 0; i < timeline.tensors.size(); ++i) {
    const Tensor& tensor = timeline.tensors[i];
    if (tensor.device != timeline.device || tensor.born > boundaries.back()) continue;
    const int64_t first = seen_at(tensor.born);
    const int64_t last = tensor.died == kNever ? count : seen_at(tensor.died);
    if (first >= last) continue;
    Statement& statement = statements[statement_of[tensor.stack]];
    statement.members.push_back({first, last, i});
    statement.stacks.insert(tensor.stack);
  }
  // Where the batches grow, what the last one leaves behind grows as well, and no container is to blame.
  const bool batch_stays = !BatchGrows(timeline, 0, until);
  for (auto& [stack, statement] : statements) {
    LeakGroup group;
    group.stacks.assign(statement.stacks.begin(), statement.stacks.end());
    GroupTrend trend(timeline, std::move(statement.members), count, died);
    if (trend.Fit(group) || (batch_stays && trend.FitReplaced(group))) leak.groups.push_back(group);
  }
  std::sort(leak.groups.begin(), leak.groups.end(), [](const LeakGroup& a, const LeakGroup& b) {
    return a.total != b.total ? a.total > b.total : a.stacks < b.stacks;
  });
  SumUp(timeline, leak);
  return leak;
}

}  // namespace oomtrace
