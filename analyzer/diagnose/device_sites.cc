#include "analyzer/diagnose/device_sites.h"

#include <algorithm>
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
  site->taken += call.taken;
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

}  // namespace

bool CountsOnDevice(const Timeline& timeline, const DeviceAllocation& allocation) {
  return allocation.device == timeline.device && allocation.on_device && !allocation.caching_allocator &&
         allocation.kind != MemoryKind::kContext && allocation.kind != MemoryKind::kCode;
}

int64_t InPages(const DeviceAllocation& allocation) {
  const bool in_pages = allocation.kind == MemoryKind::kDevice || allocation.kind == MemoryKind::kArray;
  if (!in_pages || 2 * allocation.bytes < kDevicePage) return allocation.bytes;
  return (allocation.bytes + kDevicePage - 1) / kDevicePage * kDevicePage;
}

bool SiteMembers::Has(const DeviceAllocation& allocation) {
  if (!CountsOnDevice(timeline_, allocation) || allocation.library != site_.library) return false;
  const auto [known, fresh] = calls_.try_emplace({allocation.caller, allocation.stack}, false);
  if (fresh) known->second = IsAt(timeline_, allocation, site_);
  return known->second;
}

bool WithoutTorch(const Timeline& timeline) {
  const bool asked = !timeline.device_allocations.empty() ||
                     (!timeline.out_of_memory.empty() && !timeline.out_of_memory.front().library.empty());
  return timeline.tensors.empty() && timeline.process.torch_version.empty() && asked;
}

std::vector<DeviceSite> DeviceSitesAt(const Timeline& timeline, int64_t moment) {
  std::map<std::tuple<std::string, uint64_t, uint32_t>, DeviceSite> calls;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.born > moment || !CountsOnDevice(timeline, allocation)) continue;
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
    site.taken += InPages(allocation);
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
    if (allocation.born > moment || !CountsOnDevice(timeline, allocation)) continue;
    if (allocation.born > folded.until) ++calls.made;
    if (allocation.died <= moment && allocation.died > folded.until) ++calls.freed;
  }
  return calls;
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
  if (thread == timeline.process.pid) return "the main thread";
  const auto name = timeline.thread_names.find(thread);
  return absl::StrCat("thread ", thread,
                      name == timeline.thread_names.end() ? "" : absl::StrCat(" (", name->second, ")"));
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
