#include "analyzer/diagnose/dead_weight.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/waste_words.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Less than both is not worth a line: a hundredth of the peak, and 1 MiB, half of the smallest segment that PyTorch
// asks the device for.
constexpr int64_t kShare = 100;
constexpr int64_t kLeast = int64_t{1} << 20;
constexpr size_t kGroups = 8;
// Peaks of several steps that differ by less are one: what is wasted at one is looked for at each.
constexpr size_t kMoments = 4;
// Through the allocator's model; a longer stream would take seconds.
constexpr size_t kMostTensors = 2'000'000;

int64_t Worth(int64_t peak) { return std::max(peak / kShare, kLeast); }

// The window that holds the moment of the report, else the one in which memory was highest; cut at the death.
GpuTime::Window ChooseWindow(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  GpuTime::Window chosen;
  int64_t highest = -1;
  for (GpuTime::Window window : t.gpu_time.windows) {
    if (facts.oom != nullptr) {
      if (window.begin <= facts.oom->time && facts.oom->time <= window.end) return {window.begin, facts.oom->time};
      if (window.begin > facts.oom->time) continue;
    }
    const int64_t peak = PeakBetween(t, window.begin, window.end + 1);
    if (peak > highest) chosen = window;
    highest = std::max(highest, peak);
  }
  return chosen;
}

bool DiedIn(const Facts& facts, const GpuTime::Window& window) {
  return facts.oom != nullptr && facts.oom->time == window.end;
}

// The highest moments of the window, one a step, as far as they are alike; the earliest first.
std::vector<int64_t> HighMoments(const Facts& facts, const GpuTime::Window& window) {
  const Timeline& t = *facts.timeline;
  if (DiedIn(facts, window)) return {window.end - 1};
  std::map<size_t, Sample> of_step;
  int64_t highest = 0;
  for (const Sample& sample : t.samples) {
    if (sample.time < window.begin || sample.time > window.end) continue;
    Sample& best = of_step[StepAt(t, sample.time)];
    if (sample.tensors > best.tensors) best = sample;
    highest = std::max(highest, sample.tensors);
  }
  std::vector<int64_t> moments;
  for (const auto& [step, sample] : of_step) {
    if (sample.tensors >= highest - highest / kShare && moments.size() < kMoments) moments.push_back(sample.time);
  }
  return moments;
}

bool Trimmed(WasteKind kind) { return kind == WasteKind::kDead || kind == WasteKind::kTooEarly; }

// What is one line of the report: the statement that made it, and in which way it is wasted. All gradients are one.
class Places {
 public:
  explicit Places(const Timeline& timeline) : t_(timeline) {}

  std::string Of(const Tensor& tensor, WasteKind kind) {
    const char* way = Trimmed(kind) ? "life" : kind == WasteKind::kDuplicate ? "duplicate" : "unread";
    if (tensor.category == Category::kGradient) return absl::StrCat(way, " gradient");
    return absl::StrCat(way, " ", SiteOfStack(PlaceOf(t_, tensor.stack, tensor.forward_stack)));
  }

 private:
  const std::string& SiteOfStack(uint32_t stack) {
    const auto [found, fresh] = sites_.try_emplace(stack);
    if (fresh) {
      const Frame site = SiteOf(t_, stack);
      found->second = absl::StrCat(site.file, ":", site.line, " ", site.function);
    }
    return found->second;
  }

  const Timeline& t_;
  std::map<uint32_t, std::string> sites_;
};

using Groups = std::map<std::string, WasteGroup>;

void AddLives(const std::vector<OtherLife>& lives, std::map<uint32_t, OtherLife>* all) {
  for (const OtherLife& life : lives) {
    const auto [known, fresh] = all->try_emplace(life.tensor, life);
    if (fresh || life.died <= life.born) continue;
    OtherLife& other = known->second;
    if (other.died <= other.born) {
      other = life;
    } else {
      other = {life.tensor, std::min(other.born, life.born), std::max(other.died, life.died)};
    }
  }
}

std::vector<OtherLife> Values(const std::map<uint32_t, OtherLife>& all) {
  std::vector<OtherLife> lives;
  for (const auto& [tensor, life] : all) lives.push_back(life);
  return lives;
}

// Who is wasted at the high moments, as far as there is enough of it.
Groups WastedAtPeak(const Facts& facts, const WasteFinder& finder, const std::vector<int64_t>& moments, int64_t peak,
                    Places* places) {
  const Timeline& t = *facts.timeline;
  Groups groups;
  for (const int64_t moment : moments) {
    Groups here;
    std::map<std::string, int64_t> bytes;
    for (const size_t index : LiveTensors(t, t.device, moment)) {
      const auto waste = finder.Judge(static_cast<uint32_t>(index), moment);
      if (!waste) continue;
      const std::string place = places->Of(t.tensors[index], waste->kind);
      here[place].at_peak.push_back(*waste);
      bytes[place] += t.tensors[index].bytes;
    }
    for (auto& [place, group] : here) {
      // At a later moment of the same height: the first one stands for it.
      if (bytes[place] >= Worth(peak)) groups.try_emplace(place, std::move(group));
    }
  }
  for (auto& [place, group] : groups) {
    std::stable_sort(group.at_peak.begin(), group.at_peak.end(), [&](const Wasted& a, const Wasted& b) {
      return t.tensors[a.tensor].bytes > t.tensors[b.tensor].bytes;
    });
  }
  return groups;
}

// The like of what is wasted at the peak, in the rest of the window: the next step's peak has its own.
void AddLikes(const Timeline& t, const WasteFinder& finder, const GpuTime::Window& window, Places* places,
              Groups* groups) {
  std::map<std::string, std::map<uint32_t, OtherLife>> lives;
  std::set<std::string> wanted;
  for (const auto& [place, group] : *groups) {
    wanted.insert(place);
    for (const Wasted& waste : group.at_peak) AddLives(waste.lives, &lives[place]);
  }
  for (uint32_t i = 0; i < t.tensors.size(); ++i) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.device != t.device || tensor.died <= window.begin || tensor.born > window.end) continue;
    bool possible = false;
    for (const WasteKind kind : {WasteKind::kDead, WasteKind::kNeverRead, WasteKind::kDuplicate})
      possible = possible || wanted.contains(places->Of(tensor, kind));
    if (!possible) continue;
    const auto waste = finder.Judge(i, kNever);
    if (!waste) continue;
    const std::string place = places->Of(tensor, waste->kind);
    if (wanted.contains(place)) AddLives(waste->lives, &lives[place]);
  }
  for (auto& [place, group] : *groups) group.lives = Values(lives[place]);
}

// What need not be made at all comes before what could go earlier, where it is about as much.
constexpr int64_t kAlike = 20;
int Rank(const WasteGroup& group) {
  switch (group.at_peak.front().kind) {
    case WasteKind::kNeverRead:
      return 0;
    case WasteKind::kUnused:
      return 1;
    case WasteKind::kDuplicate:
      return 2;
    case WasteKind::kTooEarly:
      return 3;
    case WasteKind::kDead:
      return 4;
  }
  return 5;
}

void OrderAlike(int64_t peak, std::vector<WasteGroup>* groups) {
  for (size_t first = 0; first < groups->size();) {
    const int64_t most = peak - (*groups)[first].peak;
    size_t end = first;
    while (end < groups->size() && peak - (*groups)[end].peak >= most - most / kAlike) ++end;
    std::stable_sort(groups->begin() + static_cast<int64_t>(first), groups->begin() + static_cast<int64_t>(end),
                     [](const WasteGroup& a, const WasteGroup& b) { return Rank(a) < Rank(b); });
    first = end;
  }
}

bool IsGradient(const Timeline& t, const WasteGroup& group) {
  return t.tensors[group.at_peak.front().tensor].category == Category::kGradient;
}

// The highest bytes outside of the window in what the window has nothing like: after the last step, in an evaluation.
int64_t OtherPeaks(const Facts& facts, const GpuTime::Window& window) {
  const Timeline& t = *facts.timeline;
  if (t.steps.empty() || facts.oom != nullptr) return 0;
  // What only lives on after the last step is no peak of its own.
  const int64_t after = std::max(window.end, t.steps.back().end) + 1;
  int64_t peak = PeakBetween(t, after, kNever);
  if (peak - TensorBytes(t, t.device, after) < Worth(peak)) peak = 0;
  if (PeakInPhase(t, PhaseKind::kEvaluation, window.begin, window.end + 1) > 0) return peak;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, window.begin}, {window.end + 1, kNever}})
    peak = std::max(peak, PeakInPhase(t, PhaseKind::kEvaluation, begin, end));
  return peak;
}

AlteredReplay ReplayOf(const Facts& facts, const GpuTime::Window& window) {
  const bool died = DiedIn(facts, window);
  return {*facts.timeline, window.begin, window.end, died ? window.end : kNever, died ? facts.refused : 0};
}

// What PyTorch's allocator would reserve less without each of the groups, by its model.
std::vector<int64_t> ReservedSavings(const Facts& facts, const DeadWeight& found) {
  const AlteredReplay replay = ReplayOf(facts, found.window);
  const AllocatorConfig config = RecordedConfig(*facts.timeline);
  const int64_t reserved = replay.Reserved({}, config).peak_reserved;
  std::vector<int64_t> savings;
  for (const WasteGroup& group : found.groups)
    savings.push_back(reserved - replay.Reserved(group.lives, config).peak_reserved);
  return savings;
}

void AddNotes(const Facts& facts, const DeadWeight& found, report::DeadWeight& out) {
  const GpuTime& gpu = facts.timeline->gpu_time;
  if (gpu.last_unknown >= found.window.begin) {
    out.add_notes(absl::StrCat("Work ran of which it is not known what it uses, the last of it ",
                               Milliseconds(gpu.last_unknown),
                               " after the start: nothing is said of tensors that were idle or unread before that."));
  }
  if (facts.peak > found.peak + found.peak / kShare) {
    out.add_notes(absl::StrCat("The peak of the whole run, ", Bytes(facts.peak),
                               ", lies outside of the window that was looked at."));
  }
}

}  // namespace

std::vector<OtherLife> LivesOfAll(const std::vector<WasteGroup>& groups) {
  std::map<uint32_t, OtherLife> all;
  for (const WasteGroup& group : groups) AddLives(group.lives, &all);
  return Values(all);
}

DeadWeight FindDeadWeight(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  DeadWeight found;
  if (t.gpu_time.windows.empty() || t.gpu_time.accesses.empty()) return found;
  found.window = ChooseWindow(facts);
  const std::vector<int64_t> moments = HighMoments(facts, found.window);
  if (moments.empty()) return found;
  found.judged = true;
  found.moment = moments.front();
  const WasteFinder finder(facts, found.window);
  found.steps = finder.whole_steps();
  const AlteredReplay replay = ReplayOf(facts, found.window);
  found.peak = replay.Peak({});
  Places places(t);
  Groups groups = WastedAtPeak(facts, finder, moments, found.peak, &places);
  AddLikes(t, finder, found.window, &places, &groups);
  const int64_t floor = std::min(OtherPeaks(facts, found.window), found.peak);
  for (auto& [place, group] : groups) {
    group.peak = std::max(replay.Peak(group.lives), floor);
    if (found.peak - group.peak >= Worth(found.peak)) found.groups.push_back(std::move(group));
  }
  std::stable_sort(found.groups.begin(), found.groups.end(),
                   [](const WasteGroup& a, const WasteGroup& b) { return a.peak < b.peak; });
  OrderAlike(found.peak, &found.groups);
  std::stable_partition(found.groups.begin(), found.groups.end(),
                        [&](const WasteGroup& group) { return !IsGradient(t, group); });
  if (found.groups.size() > kGroups) found.groups.resize(kGroups);
  found.without_all = std::max(replay.Peak(LivesOfAll(found.groups)), floor);
  return found;
}

void FillDeadWeight(const Facts& facts, const DeadWeight& found, bool allocator_known, report::DeadWeight& out) {
  const Timeline& t = *facts.timeline;
  if (!found.judged) return;
  out.set_judged(true);
  out.set_peak(found.peak);
  out.set_peak_ns(found.moment);
  out.set_peak_phase(PhaseName(PhaseAt(t, found.moment)));
  out.set_peak_step(StepsEndedBy(t, found.moment));
  out.set_steps(found.steps);
  const std::vector<int64_t> reserved_savings =
      allocator_known && t.tensors.size() < kMostTensors && !found.groups.empty()
          ? ReservedSavings(facts, found)
          : std::vector<int64_t>(found.groups.size(), -1);
  for (size_t i = 0; i < found.groups.size(); ++i) {
    const WasteGroup& group = found.groups[i];
    report::Waste* item = out.add_items();
    DescribeWaste(facts, found, group, *item);
    item->set_saving(found.peak - group.peak);
    item->set_predicted_peak(group.peak);
    item->set_reserved_saving(reserved_savings[i]);
  }
  out.set_without_all(found.without_all);
  AddNotes(facts, found, out);
}

}  // namespace oomtrace
