#include "analyzer/diagnose/device_growth.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Fewer allocations that all stay are a program that sets itself up.
constexpr int64_t kFewestOfAGrowth = 8;
// Of what the process holds, below which a place is not looked at.
constexpr int64_t kSmallestShare = 20;  // 1 / 5 %
// Threads that hold one allocation each are taken for workers, up to this many; more are made for one task each.
constexpr size_t kMostWorkers = 64;
// What stays, of what a place has made: a growth gives next to nothing back.
constexpr double kStays = 0.8;
// What each quarter after the first adds at least, of what a place holds at the end, where it is said to grow.
constexpr double kClimbs = 0.1;
// Of what a growth kept, what one allocation has at most.
constexpr double kLargestPiece = 0.3;
// Of a site's bytes, where one thread is said to keep them.
constexpr double kNearlyAll = 0.95;

constexpr int kQuarters = 4;
using Quarters = std::array<int64_t, kQuarters>;

// The times by which a quarter, a half, three quarters and all of the program's allocations until `moment` were made.
// Of what was folded away only the number is known: it is spread over its time.
Quarters QuartersOfCalls(const Timeline& timeline, int64_t moment) {
  const FoldedCalls& folded = timeline.folded_calls;
  std::vector<int64_t> births;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (CountsOnDevice(timeline, allocation) && allocation.born > folded.until && allocation.born <= moment)
      births.push_back(allocation.born);
  }
  std::sort(births.begin(), births.end());
  const auto calls = static_cast<int64_t>(births.size()) + folded.made;
  Quarters times = {};
  for (int i = 0; i < kQuarters; ++i) {
    const int64_t number = calls * (i + 1) / kQuarters;
    if (number > folded.made) {
      times.at(i) = births[static_cast<size_t>(number - folded.made - 1)];
    } else {
      times.at(i) = folded.made == 0
                        ? 0
                        : static_cast<int64_t>(static_cast<double>(folded.until) * static_cast<double>(number) /
                                               static_cast<double>(folded.made));
    }
  }
  times.back() = moment;
  return times;
}

// Of what the site holds at `moment`, the bytes that it had by each of these times. What others of its blocks were
// there meanwhile does not matter: a queue of bounded length has nothing old, a growth has something of every age.
Quarters KeptSince(const Timeline& timeline, const DeviceSite& site, const Quarters& times, int64_t moment) {
  Quarters kept = {};
  SiteMembers here(timeline, site);
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || allocation.died <= moment || !here.Has(allocation)) continue;
    for (int i = 0; i < kQuarters; ++i)
      if (allocation.born <= times.at(i)) kept.at(i) += allocation.bytes;
  }
  return kept;
}

bool Climbs(const Quarters& kept) {
  for (int i = 1; i < kQuarters; ++i) {
    if (static_cast<double>(kept.at(i) - kept.at(i - 1)) < kClimbs * static_cast<double>(kept.back())) return false;
  }
  return kept.back() > 0;
}

// After each quarter of the time from the site's first allocation to the end of the recording.
bool ClimbsToTheEnd(const Timeline& timeline, const DeviceSite& site) {
  Quarters times = {};
  for (int i = 0; i < kQuarters; ++i)
    times.at(i) = timeline.end - (timeline.end - site.first) / kQuarters * (kQuarters - 1 - i);
  return Climbs(KeptSince(timeline, site, times, timeline.end));
}

// Whether what was kept since the first quarter is of many pieces: a pool that doubles itself is not.
bool OfManyPieces(const Timeline& timeline, const DeviceSite& site, const Quarters& times, int64_t moment) {
  int64_t all = 0, largest = 0;
  SiteMembers here(timeline, site);
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || allocation.died <= moment || allocation.born <= times.front()) continue;
    if (!here.Has(allocation)) continue;
    all += allocation.bytes;
    largest = std::max(largest, allocation.bytes);
  }
  return static_cast<double>(largest) < kLargestPiece * static_cast<double>(all);
}

// How many times the site began to allocate after another one had.
int64_t Runs(const Timeline& timeline, const DeviceSite& site, int64_t moment) {
  SiteMembers here(timeline, site);
  int64_t runs = 0;
  bool before = false;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {  // in order of birth
    if (allocation.born > moment || !CountsOnDevice(timeline, allocation)) continue;
    const bool now = here.Has(allocation);
    runs += now && !before ? 1 : 0;
    before = now;
  }
  return runs;
}

// From the first block kept after the first quarter of the program's allocations to the last one. How the calls that
// were folded away lie in time is not known: where there are such, everything counts, what was made at the start too.
void FillRates(const Timeline& timeline, const Quarters& times, int64_t moment, DeviceGrowth* growth) {
  const bool folded = timeline.folded_calls.made > 0;
  SiteMembers here(timeline, growth->site);
  int64_t first = kNever, last = 0, bytes = 0, taken = 0, calls = 0, calls_to_last = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {  // in order of birth
    if (allocation.born > moment || !CountsOnDevice(timeline, allocation)) continue;
    calls += first != kNever ? 1 : 0;
    const bool counts = allocation.died > moment && (folded || allocation.born > times.front());
    if (!counts || !here.Has(allocation)) continue;
    last = allocation.born;
    calls_to_last = calls;
    if (first == kNever && !folded) {
      first = allocation.born;
    } else {
      first = std::min(first, allocation.born);
      bytes += allocation.bytes;
      taken += InPages(allocation);
    }
  }
  if (folded) calls_to_last = CountDeviceCalls(timeline, moment).made;
  if (calls_to_last > 0) {
    growth->bytes_per_1000_calls = 1000.0 * static_cast<double>(bytes) / static_cast<double>(calls_to_last);
    growth->taken_per_1000_calls = 1000.0 * static_cast<double>(taken) / static_cast<double>(calls_to_last);
  }
  if (last > first) growth->bytes_per_second = 1e9 * static_cast<double>(bytes) / static_cast<double>(last - first);
}

// Where several threads call the site and one of them made nearly all that is kept.
uint32_t ThreadThatKeeps(const Timeline& timeline, const DeviceSite& site, int64_t moment) {
  if (!site.many_threads) return 0;
  std::map<uint32_t, std::pair<int64_t, int64_t>> threads;  // bytes kept, allocations made
  SiteMembers here(timeline, site);
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || !here.Has(allocation)) continue;
    auto& [kept, made] = threads[allocation.thread];
    ++made;
    if (allocation.died > moment) kept += allocation.bytes;
  }
  for (const auto& [thread, counts] : threads) {
    const bool alone = static_cast<double>(counts.first) >= kNearlyAll * static_cast<double>(site.bytes);
    if (alone && site.made - counts.second >= kFewestOfAGrowth) return thread;
  }
  return 0;
}

// A function that others allocate by keeps what some of them leak, and gives back what the rest frees: no share of its
// blocks says so, only that something of every age is there. Where nearly all stays, a growth may also have begun late;
// but what is loaded in a few bursts, amid other work, is not one.
bool Grows(const Timeline& timeline, const DeviceSite& site, const Quarters& kept, int64_t moment) {
  if (site.count < kFewestOfAGrowth) return false;
  if (Climbs(kept)) return true;
  const bool all_stay =
      timeline.folded_calls.made == 0 && static_cast<double>(site.count) >= kStays * static_cast<double>(site.made);
  if (!all_stay || 4 * (kept[3] - kept[1]) < site.bytes) return false;
  return 2 * site.made >= CountDeviceCalls(timeline, moment).made || Runs(timeline, site, moment) >= kFewestOfAGrowth;
}

}  // namespace

bool IsOnePerThread(const Timeline& timeline, const DeviceSite& site, int64_t moment) {
  if (!site.many_threads || site.count < 2 || static_cast<size_t>(site.count) > kMostWorkers) return false;
  std::set<uint32_t> threads;
  SiteMembers here(timeline, site);
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || allocation.died <= moment || !here.Has(allocation)) continue;
    if (!threads.insert(allocation.thread).second) return false;
  }
  return threads.size() >= 2;
}

// Counted, not timed: the last thing that a program does before it dies may take longer than all the rest.
std::vector<DeviceGrowth> FindDeviceGrowths(const Timeline& timeline, const std::vector<DeviceSite>& sites,
                                            int64_t moment) {
  std::vector<std::pair<int64_t, DeviceGrowth>> growths;  // bytes since the first quarter
  int64_t held = 0;
  for (const DeviceSite& site : sites) held += site.bytes;
  const Quarters times = QuartersOfCalls(timeline, moment);
  for (const DeviceSite& site : sites) {
    if (kSmallestShare * site.bytes < held) break;  // the largest come first
    const Quarters kept = KeptSince(timeline, site, times, moment);
    if (!Grows(timeline, site, kept, moment) || !OfManyPieces(timeline, site, times, moment)) continue;
    if (IsOnePerThread(timeline, site, moment)) continue;
    DeviceGrowth growth;
    growth.found = true;
    growth.site = site;
    growth.among_others = static_cast<double>(site.count) < kStays * static_cast<double>(site.made);
    growth.thread = ThreadThatKeeps(timeline, site, moment);
    FillRates(timeline, times, moment, &growth);
    growths.emplace_back(kept.back() - kept.front(), std::move(growth));
  }
  std::stable_sort(growths.begin(), growths.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<DeviceGrowth> found;
  for (auto& [bytes, growth] : growths) found.push_back(std::move(growth));
  return found;
}

DeviceGrowth FindDeviceGrowth(const Timeline& timeline, const std::vector<DeviceSite>& sites, int64_t moment) {
  const std::vector<DeviceGrowth> growths = FindDeviceGrowths(timeline, sites, moment);
  return growths.empty() ? DeviceGrowth() : growths.front();
}

DeviceGrowth FindLastingGrowth(const Timeline& timeline) {
  const DeviceGrowth growth = FindDeviceGrowth(timeline, DeviceSitesAt(timeline, timeline.end), timeline.end);
  return growth.found && ClimbsToTheEnd(timeline, growth.site) ? growth : DeviceGrowth();
}

DeviceGrowth FindGrowthOverSteps(const Timeline& timeline, int64_t moment) {
  const int64_t steps = StepsEndedBy(timeline, moment);
  if (steps < kFewestOfAGrowth) return {};
  Quarters times = {};
  for (int i = 0; i < kQuarters; ++i)
    times.at(i) = timeline.steps[static_cast<size_t>(steps * (i + 1) / kQuarters - 1)].end;
  times.back() = moment;
  const DeviceGrowth growth = FindDeviceGrowth(timeline, DeviceSitesAt(timeline, moment), moment);
  return growth.found && Climbs(KeptSince(timeline, growth.site, times, moment)) ? growth : DeviceGrowth();
}

}  // namespace oomtrace
