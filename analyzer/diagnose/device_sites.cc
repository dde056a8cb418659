#include "analyzer/diagnose/device_sites.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Fewer allocations that all stay are a program that sets itself up.
constexpr int64_t kFewestOfAGrowth = 8;
// What stays, of what a place has made: a growth gives next to nothing back.
constexpr double kStays = 0.8;
// What each quarter after the first adds at least, of what a place holds at the end, where it is said to grow.
constexpr double kClimbs = 0.1;
// Of a site's bytes, where one thread is said to keep them.
constexpr double kNearlyAll = 0.95;

bool Counts(const Timeline& timeline, const DeviceAllocation& allocation) {
  return allocation.device == timeline.device && allocation.on_device && !allocation.caching_allocator &&
         allocation.kind != MemoryKind::kContext && allocation.kind != MemoryKind::kCode;
}

// "xla::gpu::(anonymous namespace)::Executor::Allocate" → "Executor::Allocate".
std::string Short(const std::string& function) {
  const size_t last = function.rfind("::");
  if (last == std::string::npos || last == 0) return function;
  const size_t before = function.rfind("::", last - 1);
  return before == std::string::npos ? function : function.substr(before + 2);
}

// Statement, else function, else offset: what PlaceName tells apart.
using PlaceKey = std::tuple<std::string, std::string, std::string, int64_t>;

PlaceKey KeyOf(const Timeline& timeline, const std::string& library, uint64_t caller, uint32_t stack) {
  const Frame frame = SiteOf(timeline, stack);
  if (!frame.file.empty()) return {library, frame.file, "", frame.line};
  const std::string function = FunctionName(timeline, library, caller);
  if (!function.empty()) return {library, "", function, 0};
  return {library, "", "", static_cast<int64_t>(caller)};
}

// Two calls in one function, or in one statement, are one place.
void Join(const DeviceSite& call, DeviceSite* site) {
  site->many_threads = site->many_threads || call.many_threads || call.thread != site->thread;
  if (call.last > site->last) {
    site->api = call.api;
    site->thread = call.thread;
  }
  site->bytes += call.bytes;
  site->count += call.count;
  site->largest = std::max(site->largest, call.largest);
  site->made += call.made;
  site->first = std::min(site->first, call.first);
  site->last = std::max(site->last, call.last);
}

bool IsAt(const Timeline& timeline, const DeviceAllocation& allocation, const DeviceSite& site) {
  if (allocation.library != site.library) return false;
  if (allocation.caller == site.caller && allocation.stack == site.stack) return true;
  return KeyOf(timeline, allocation.library, allocation.caller, allocation.stack) ==
         KeyOf(timeline, site.library, site.caller, site.stack);
}

// Tells the allocations of a site from others; what a place is called is asked once for each call.
class Membership {
 public:
  Membership(const Timeline& timeline, const DeviceSite& site) : timeline_(timeline), site_(site) {}

  bool Has(const DeviceAllocation& allocation) {
    if (!Counts(timeline_, allocation) || allocation.library != site_.library) return false;
    const auto [known, fresh] = calls_.try_emplace({allocation.caller, allocation.stack}, false);
    if (fresh) known->second = IsAt(timeline_, allocation, site_);
    return known->second;
  }

 private:
  const Timeline& timeline_;
  const DeviceSite& site_;
  std::map<std::pair<uint64_t, uint32_t>, bool> calls_;
};

constexpr int kQuarters = 4;
using Quarters = std::array<int64_t, kQuarters>;

// The times by which a quarter, a half, three quarters and all of the program's allocations until `moment` were made.
// Of what was folded away only the number is known: it is spread over its time.
Quarters QuartersOfCalls(const Timeline& timeline, int64_t moment) {
  const FoldedCalls& folded = timeline.folded_calls;
  std::vector<int64_t> births;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (Counts(timeline, allocation) && allocation.born > folded.until && allocation.born <= moment)
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
  Membership here(timeline, site);
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

void FillRates(const Timeline& timeline, int64_t moment, DeviceGrowth* growth) {
  const DeviceSite& site = growth->site;
  const double seconds = static_cast<double>(site.last - site.first) / 1e9;
  const auto bytes = static_cast<double>(site.bytes);
  growth->bytes_per_second = seconds > 0 ? bytes / seconds : 0;
  growth->bytes_per_1000_calls = 1000.0 * bytes / static_cast<double>(CountDeviceCalls(timeline, moment).made);
}

// Where several threads call the site and one of them made nearly all that is kept.
uint32_t ThreadThatKeeps(const Timeline& timeline, const DeviceSite& site, int64_t moment) {
  if (!site.many_threads) return 0;
  std::map<uint32_t, std::pair<int64_t, int64_t>> threads;  // bytes kept, allocations made
  Membership here(timeline, site);
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
// blocks says so, only that something of every age is still there.
DeviceGrowth FindAmongOthers(const Timeline& timeline, const std::vector<DeviceSite>& sites, const Quarters& times,
                             int64_t moment) {
  DeviceGrowth growth;
  int64_t held = 0;
  for (const DeviceSite& site : sites) held += site.bytes;
  int64_t most = 0;
  for (const DeviceSite& site : sites) {
    if (site.count < kFewestOfAGrowth || 4 * site.bytes < held) continue;
    const Quarters kept = KeptSince(timeline, site, times, moment);
    if (!Climbs(kept) || kept.back() - kept.front() <= most) continue;
    most = kept.back() - kept.front();
    growth.found = true;
    growth.site = site;
  }
  if (!growth.found) return growth;
  growth.among_others = static_cast<double>(growth.site.count) < kStays * static_cast<double>(growth.site.made);
  FillRates(timeline, moment, &growth);
  return growth;
}

}  // namespace

bool WithoutTorch(const Timeline& timeline) {
  const bool asked = !timeline.device_allocations.empty() ||
                     (!timeline.out_of_memory.empty() && !timeline.out_of_memory.front().library.empty());
  return timeline.tensors.empty() && timeline.process.torch_version.empty() && asked;
}

std::vector<DeviceSite> DeviceSitesAt(const Timeline& timeline, int64_t moment) {
  std::map<std::tuple<std::string, uint64_t, uint32_t>, DeviceSite> calls;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || !Counts(timeline, allocation)) continue;
    DeviceSite& site = calls[{allocation.library, allocation.caller, allocation.stack}];
    if (site.made++ == 0) {
      site.library = allocation.library;
      site.caller = allocation.caller;
      site.stack = allocation.stack;
      site.first = allocation.born;
    } else if (site.thread != allocation.thread) {
      site.many_threads = true;
    }
    site.api = allocation.api;
    site.last = allocation.born;
    site.thread = allocation.thread;
    if (allocation.died <= moment) continue;
    ++site.count;
    site.bytes += allocation.bytes;
    site.largest = std::max(site.largest, allocation.bytes);
  }
  std::map<PlaceKey, DeviceSite> sites;
  for (auto& [key, call] : calls) {
    const auto [site, first] = sites.try_emplace(KeyOf(timeline, call.library, call.caller, call.stack), call);
    if (!first) Join(call, &site->second);
  }
  std::vector<DeviceSite> held;
  for (auto& [key, site] : sites) {
    if (site.count > 0) held.push_back(std::move(site));
  }
  std::stable_sort(held.begin(), held.end(),
                   [](const DeviceSite& a, const DeviceSite& b) { return a.bytes > b.bytes; });
  return held;
}

DeviceCalls CountDeviceCalls(const Timeline& timeline, int64_t moment) {
  const FoldedCalls& folded = timeline.folded_calls;
  DeviceCalls calls{folded.made, folded.freed};
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || !Counts(timeline, allocation)) continue;
    if (allocation.born > folded.until) ++calls.made;
    if (allocation.died <= moment && allocation.died > folded.until) ++calls.freed;
  }
  return calls;
}

// The site that holds most, if nearly all that it ever made is still there and it went on until the end: of what it
// holds, the second half of the program's allocations brought a good part. What is set up once has no second half.
// Counted, not timed: the last thing that a program does before it dies may take longer than all the rest. Else one
// that keeps a part of what it makes, or of which only what is left was not folded away.
DeviceGrowth FindDeviceGrowth(const Timeline& timeline, const std::vector<DeviceSite>& sites, int64_t moment) {
  DeviceGrowth growth;
  if (sites.empty()) return growth;
  const DeviceSite& site = sites.front();
  const bool all_stay = timeline.folded_calls.made == 0 && site.count >= kFewestOfAGrowth &&
                        static_cast<double>(site.count) >= kStays * static_cast<double>(site.made);
  const Quarters times = QuartersOfCalls(timeline, moment);
  const Quarters kept = KeptSince(timeline, site, times, moment);
  if (all_stay && 4 * (kept[3] - kept[1]) >= site.bytes) {
    growth.found = true;
    growth.site = site;
    FillRates(timeline, moment, &growth);
  } else {
    growth = FindAmongOthers(timeline, sites, times, moment);
  }
  if (growth.found) growth.thread = ThreadThatKeeps(timeline, growth.site, moment);
  return growth;
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

int64_t FreedIntoPools(const Timeline& timeline, int64_t moment) {
  std::map<uint64_t, std::vector<std::pair<int64_t, int64_t>>> pools;  // changes: time, bytes
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || allocation.kind != MemoryKind::kPooled || !Counts(timeline, allocation)) continue;
    auto& changes = pools[allocation.handle];
    changes.emplace_back(allocation.born, allocation.bytes);
    if (allocation.died <= moment) changes.emplace_back(allocation.died, -allocation.bytes);
  }
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.kind == MemoryKind::kPool && allocation.died <= moment) pools.erase(allocation.address);
  }
  int64_t freed = 0;
  for (auto& [pool, changes] : pools) {
    std::sort(changes.begin(), changes.end());
    int64_t held = 0;
    int64_t peak = 0;
    for (const auto& [time, bytes] : changes) {
      held += bytes;
      peak = std::max(peak, held);
    }
    freed += peak - held;
  }
  return freed;
}

bool InStreamOrder(const OutOfMemory& refusal) { return absl::StrContains(refusal.api, "Async"); }

int64_t MeasuredOverhead(const Timeline& timeline, int64_t moment) {
  int64_t bytes = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.device != timeline.device || allocation.born > moment || allocation.died <= moment) continue;
    if (allocation.kind == MemoryKind::kContext || allocation.kind == MemoryKind::kCode) bytes += allocation.bytes;
  }
  return bytes;
}

void FillDeviceCulprit(const Timeline& timeline, const std::string& library, uint64_t caller, uint32_t stack,
                       int64_t bytes, report::Culprit* culprit) {
  const Frame frame = SiteOf(timeline, stack);
  culprit->set_file(frame.file.empty() ? library : frame.file);
  culprit->set_line(frame.line);
  culprit->set_function(frame.file.empty() ? FunctionName(timeline, library, caller) : frame.function);
  culprit->set_bytes(bytes);
  culprit->set_category("other");
}

std::string LibraryName(const std::string& path) {
  if (path.empty()) return "code without a file";
  // An extension module is called by the name it is imported by.
  const size_t suffix = path.find(".cpython-");
  const size_t packages = path.rfind("-packages/");
  if (suffix != std::string::npos && packages != std::string::npos && packages < suffix) {
    const size_t begin = packages + std::string_view("-packages/").size();
    return absl::StrReplaceAll(path.substr(begin, suffix - begin), {{"/", "."}});
  }
  return path.substr(path.rfind('/') + 1);
}

std::string ThreadName(const Timeline& timeline, uint32_t thread) {
  return thread == timeline.process.pid ? "the main thread" : absl::StrCat("thread ", thread);
}

std::string FunctionName(const Timeline& timeline, const std::string& library, uint64_t caller) {
  const auto found = timeline.functions.find({library, caller});
  return found == timeline.functions.end() ? "" : found->second;
}

std::string PlaceName(const Timeline& timeline, const std::string& library, uint64_t caller, uint32_t stack) {
  const Frame frame = SiteOf(timeline, stack);
  if (!frame.file.empty()) return ShortSite(frame);
  const std::string function = FunctionName(timeline, library, caller);
  if (!function.empty()) return absl::StrCat(Short(function), " in ", LibraryName(library));
  if (caller == 0) return LibraryName(library);
  return absl::StrFormat("%s+0x%x", LibraryName(library), caller);
}

}  // namespace oomtrace
