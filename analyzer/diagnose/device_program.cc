#include "analyzer/diagnose/device_program.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/device_growth.h"
#include "analyzer/diagnose/device_pools.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// One allocation of at least this share of the card is a pool that somebody took ahead.
constexpr double kPoolShare = 0.5;
// After so many allocations a program has found its course.
constexpr int64_t kSetUpCalls = 8;
// Below this the rounding to pages is part of the places that rounded.
constexpr int64_t kWorthARow = int64_t{1} << 20;
// What the context of CUDA and its libraries takes at most, before it is remarkable.
constexpr int64_t kLargestContext = int64_t{3} << 29;

class Verdict {
 public:
  Verdict(const Timeline& timeline, Diagnosis* diagnosis)
      : t_(timeline),
        d_(*diagnosis),
        facts_(diagnosis->facts),
        sites_(DeviceSitesAt(timeline, diagnosis->facts.moment)),
        calls_(CountDeviceCalls(timeline, diagnosis->facts.moment)),
        pools_(timeline, diagnosis->facts.moment) {
    if (facts_.oom == nullptr) {
      growth_ = FindLastingGrowth(timeline);
      return;
    }
    for (DeviceGrowth& growth : FindDeviceGrowths(timeline, sites_, facts_.moment)) {
      (growth_.found ? other_growths_.emplace_back() : growth_) = std::move(growth);
    }
  }

  void Decide() {
    if (facts_.oom == nullptr) {
      Healthy();
    } else if (facts_.oom->kind == MemoryKind::kContext) {
      WithoutRoomForContext();
    } else if (facts_.requested == 0) {
      OfUnknownSize();
    } else if (OthersDecide()) {
      Set("other_process", 0.9);
      Say(absl::StrCat("Other processes hold ", Bytes(facts_.device.other_processes()), " of the card's ",
                       Bytes(facts_.device.total()), "; this one holds ", Bytes(Own()), " and asked for ",
                       Bytes(facts_.requested), "."));
      Cause("other_process_memory", "other processes hold memory on this device", 0.9);
    } else if (facts_.requested > Reachable()) {
      Set("at_start", 0.95);
      Say(absl::StrCat("The request alone, ", Bytes(facts_.requested),
                       ", exceeds what this process can have of the card, ", Bytes(Reachable()),
                       ", even with everything else given back."));
      Cause("single_allocation_exceeds_card", "one allocation is larger than all that this process can have", 0.95);
    } else if (facts_.device.free() >= facts_.requested + kDevicePage) {
      Set("fragmentation", 0.6);
      Say(absl::StrCat("The device had ", Bytes(facts_.device.free()), " free, more than the ", Bytes(facts_.requested),
                       " asked for: no free piece was large enough, or a limit on the process refused it."));
      Cause("fragmentation", "enough is free, but not in one piece", 0.5);
    } else if (IdlePoolsSuffice()) {
      Set(calls_.made <= kSetUpCalls ? "at_start" : "late_allocation", facts_.pools_may_hold ? 0.5 : 0.7);
      Say(facts_.pools_may_hold ? "With what its stream-ordered pools may keep, the request would have fit."
                                : "With what its stream-ordered pools keep, the request would have fit.");
      Cause("idle_pools", "stream-ordered pools keep what the program freed", facts_.pools_may_hold ? 0.5 : 0.8);
    } else if (CupysPoolMaySuffice()) {
      BesideCupysPool();
    } else if (growth_.found && growth_.site.taken - growth_.site.largest >= Missing() && !IsUnheardOf()) {
      Leak();
    } else if (const DeviceSite* worker = EachThreadsShare(); worker != nullptr) {
      Set("at_start", 0.7);
      Say(absl::StrCat(Count(worker->count, "thread"), " hold one allocation of ", Place(*worker), " each, ",
                       Bytes(worker->bytes), " in all; it was the next thread's that did not fit."));
      Cause("memory_per_thread", "each thread takes memory of its own, and there are too many of them", 0.8);
    } else if (calls_.made <= kSetUpCalls || calls_.freed == 0) {
      Set("at_start", 0.7);
      Say(absl::StrCat("It died after ", Count(calls_.made, "allocation"),
                       calls_.freed == 0 ? ", none of which it had given back"
                                         : absl::StrCat(", of which it had given back ", calls_.freed),
                       ": it was still taking what it works with."));
    } else {
      Set("late_allocation", 0.6);
      Say(absl::StrCat("The program had allocated ", calls_.made, " times and given back ", calls_.freed,
                       ": it was at work, and then needed more than before (its peak until then: ", Bytes(facts_.peak),
                       ")."));
    }
    if (facts_.oom != nullptr && growth_.found && d_.pattern.name != "gradual_leak" &&
        pools_.Of(growth_.site.library) == PoolKind::kNone) {
      Say(absl::StrCat("Beside this, memory held by ", Place(growth_.site), " grows: ", Bytes(growth_.site.bytes),
                       " by then, ", Rate(growth_), "."));
    }
    if (facts_.idle_pools > 0) {
      Say(absl::StrCat("This process's stream-ordered pools kept ", IdlePools(),
                       " that it had freed: the device did not get it back."));
    }
    if (facts_.oom != nullptr && facts_.without_context) {
      Say(kWithoutContext);
    } else if (facts_.oom != nullptr && facts_.oom->kind != MemoryKind::kContext) {
      Request();
    }
    OtherThreads();
    Holders();
    OtherDevices();
    BesideTheDevice();
    TakenAhead();
    Names();
  }

  void Report() {
    report::Report& report = d_.report;
    report.set_pattern(d_.pattern.name);
    report.set_confidence(d_.pattern.confidence);
    report.set_summary(Summary());
    Culprit(report.mutable_culprit());
    report::OutOfMemory* out = report.mutable_out_of_memory();
    out->set_caught_before(facts_.survived_refusals);
    report.mutable_leak()->set_steps_to_oom(-1);
    if (growth_.found) FillLeak(report.mutable_leak());
    if (facts_.oom != nullptr) {
      out->set_library(facts_.oom->library);
      out->set_place(RefusedPlace());
      out->set_api(facts_.oom->api);
      out->set_thread(ThreadName(t_, facts_.oom->thread));
    }
  }

 private:
  int64_t Own() const { return facts_.device.other() + facts_.device.tensors() + facts_.device.cache(); }
  // What the device could give this process in one piece, at most.
  int64_t Reachable() const {
    // Pools that may hold a part of the row for the context could give it back.
    const int64_t context = facts_.pools_may_hold ? 0 : facts_.device.context();
    return facts_.device.total() - context - facts_.device.other_processes();
  }

  bool OthersDecide() const {
    const int64_t others = facts_.device.other_processes();
    return others >= Own() + facts_.requested && facts_.requested - facts_.device.free() <= others;
  }

  int64_t Missing() const { return facts_.requested - facts_.device.free(); }

  // The request is more than all that the growth holds, and more than twice as large as any before it.
  bool IsUnheardOf() const {
    int64_t largest = 0;
    for (const DeviceAllocation& allocation : t_.device_allocations) {
      if (allocation.born <= facts_.moment && CountsOnDevice(t_, allocation))
        largest = std::max(largest, allocation.bytes);
    }
    return facts_.requested > 2 * largest && facts_.requested > growth_.site.taken;
  }

  bool IdlePoolsSuffice() const {
    // The pool that was asked has tried what it keeps.
    const int64_t freed = FreedIntoOtherPools(t_, *facts_.oom);
    const int64_t idle = facts_.idle_pools > 0 ? std::min(facts_.idle_pools, freed) : facts_.pools_may_hold ? freed : 0;
    return idle > 0 && idle >= Missing();
  }

  // The request did not come from CuPy's pool, which would have given back its idle blocks and asked again.
  bool CupysPoolMaySuffice() const {
    if (growth_.found && pools_.Of(growth_.site.library) != PoolKind::kCupy) return false;
    return HeldBy(PoolKind::kCupy) > 0 && !CupyGaveUp(t_, *facts_.oom) && pools_.cupy_idle_at_most() >= Missing();
  }

  // The place that was refused, where each thread before it holds one allocation of it.
  const DeviceSite* EachThreadsShare() const {
    for (const DeviceSite& site : sites_) {
      if (RefusedPlace() == Place(site) && site.library == facts_.oom->library)
        return IsOnePerThread(t_, site, facts_.moment) ? &site : nullptr;
    }
    return nullptr;
  }

  void Set(const char* name, double confidence) { d_.pattern = {name, confidence, {}}; }
  void Say(std::string sentence) { d_.pattern.evidence.push_back(std::move(sentence)); }
  void Cause(const char* id, const char* title, double confidence) {
    report::Cause* cause = d_.report.add_causes();
    cause->set_id(id);
    cause->set_confidence(confidence);
    cause->set_title(title);
  }
  void Unknown(std::string sentence) { d_.report.add_unknown(std::move(sentence)); }

  std::string Place(const DeviceSite& site) const { return PlaceName(t_, site.library, site.caller, site.stack); }
  std::string RefusedPlace() const { return PlaceName(t_, facts_.oom->library, facts_.oom->caller, facts_.oom->stack); }

  std::string Rate(const DeviceGrowth& growth) const {
    const int64_t calls = facts_.oom != nullptr ? calls_.made : CountDeviceCalls(t_, t_.end).made;
    const double a_call = growth.bytes_per_1000_calls / 1000;
    const std::string per_call =
        calls < 100    ? absl::StrCat(Bytes(std::llround(a_call)), " for each of the program's allocations")
        : calls < 1000 ? absl::StrCat(Bytes(std::llround(100 * a_call)), " for every 100 allocations")
                       : absl::StrCat(Bytes(std::llround(growth.bytes_per_1000_calls)), " for every 1000 allocations");
    // A rate needs some time to be one.
    if (growth.site.last - growth.site.first < 100'000'000) return per_call;
    return absl::StrCat(Bytes(std::llround(growth.bytes_per_second)), " a second, ", per_call);
  }

  void Leak() {
    // That a loop keeps what it makes is certain; whether it means to is not in a trace without steps.
    const DeviceSite& site = growth_.site;
    Set("gradual_leak", pools_.Of(site.library) == PoolKind::kCupy ? 0.6
                        : calls_.freed == 0 || BeganAtOnce(site)   ? 0.7
                                                                   : 0.8);
    if (Folded()) {
      Say(absl::StrCat(Place(site), " holds ", Bytes(site.bytes), " in ", Count(site.count, "allocation"),
                       ", made in every quarter of the program's ", calls_.made, ": ", Rate(growth_), "."));
    } else {
      Say(absl::StrCat(Place(site), " allocated ", site.made, " times until the end, and ",
                       site.count == site.made ? "all" : absl::StrCat(site.count), " of that is still held, ",
                       Bytes(site.bytes), ": ", Rate(growth_), "."));
    }
    if (10 * (site.taken - site.bytes) >= site.bytes) {
      Say(absl::StrCat("Of the device these take ", Bytes(site.taken), ": it gives out whole pages of ",
                       Bytes(kDevicePage), "."));
    }
    Helper();
    for (size_t i = 0; i < other_growths_.size() && i < 3; ++i) {
      const DeviceGrowth& other = other_growths_[i];
      Say(absl::StrCat(Place(other.site), " grows as well: ", Bytes(other.site.bytes), " in ",
                       Count(other.site.count, "allocation"), ", ", Rate(other), "."));
    }
    if (calls_.freed == 0) {
      Say("Nothing was ever given back: a program that loads more than fits looks the same.");
    } else if (const int64_t others = calls_.freed - (site.made - site.count); others > 0 && !Folded()) {
      Say(absl::StrCat("Meanwhile the program gave back ", Count(others, "other allocation"),
                       BeganAtOnce(site) ? ": what grows is not what it works with, unless it was still loading, which "
                                           "looks the same."
                                         : ": what grows is not its work."));
    }
    if (pools_.Of(site.library) == PoolKind::kCupy)
      Say("CuPy's pool keeps what the program lets go: whether it still uses all of this cannot be seen from outside.");
    Cause("accumulating_allocations", "one place allocates again and again, and what it made before stays", 0.8);
  }

  void BesideCupysPool() {
    Set(calls_.made <= kSetUpCalls ? "at_start" : "late_allocation", 0.5);
    Say(absl::StrCat("CuPy's pool holds ", Bytes(HeldBy(PoolKind::kCupy)),
                     "; the request came past it, so that it did not give back what it has idle. ", Bytes(Missing()),
                     " of it would have been enough."));
    Cause("idle_pools", "CuPy's pool may keep what the program freed", 0.5);
  }

  bool Folded() const { return t_.folded_calls.made > 0; }

  // Among the program's first allocations: nothing shows that it was at work before.
  bool BeganAtOnce(const DeviceSite& site) const { return CountDeviceCalls(t_, site.first).made <= kSetUpCalls; }

  // Of native code the trace has one frame: the caller of the device call.
  void Helper() {
    const DeviceSite& site = growth_.site;
    if (growth_.among_others) {
      Say(absl::StrCat("What it keeps is of every age, and it also made ", site.made - site.count,
                       " that were given back: others allocate by it, and some of them keep what they take."));
    }
    if (growth_.among_others && SiteOf(t_, site.stack).file.empty())
      Unknown(absl::StrCat("Which caller of ", Place(site),
                           " keeps what it takes: of native code only the caller of the device call is recorded."));
    if (growth_.thread != 0)
      Say(absl::StrCat("Several threads allocate there; what is held was made by ", ThreadName(t_, growth_.thread),
                       "."));
  }

  void Healthy() {
    const bool ended_badly = t_.exited && t_.exit_status != 0;
    Set("healthy", !t_.damage.empty() ? 0.5 : ended_badly && HasPool() ? 0.6 : 0.9);
    const DeviceCalls all = CountDeviceCalls(t_, t_.end);
    Say(absl::StrCat("The process made ", Count(all.made, "device allocation"), " and held at most ",
                     Bytes(facts_.peak),
                     facts_.page_rounding >= kWorthARow
                         ? absl::StrCat(", ", Bytes(facts_.peak + facts_.page_rounding), " in the device's pages")
                         : "",
                     "."));
    // A pool grows in pieces of its own sizes: their rate says nothing.
    if (growth_.found && pools_.Of(growth_.site.library) != PoolKind::kNone) {
      Say(absl::StrCat("The pool grew until the end, by requests from ", Place(growth_.site), "."));
    } else if (growth_.found) {
      Say(absl::StrCat("Warning: memory held by ", Place(growth_.site), " only grows: ", Rate(growth_), "."));
      Helper();
    }
    if (ended_badly && HasPool()) {
      Say(absl::StrCat("It ended with status ", t_.exit_status,
                       ", and not by a refusal of the device: if it said that it was out of memory, its own pool had "
                       "reached its limit",
                       FractionLimit().empty() ? "" : absl::StrCat(" (", FractionLimit(), ")"), "."));
    }
  }

  bool HasLargePiece() const {
    return std::any_of(sites_.begin(), sites_.end(), [&](const DeviceSite& site) { return IsTakenAhead(site); });
  }

  bool HasPool() const {
    return HasLargePiece() || std::any_of(sites_.begin(), sites_.end(), [&](const DeviceSite& site) {
             return pools_.Of(site.library) != PoolKind::kNone;
           });
  }

  // What bounds JAX's pool, "" without JAX.
  std::string FractionLimit() const {
    if (HeldBy(PoolKind::kXla) == 0) return "";
    const std::string fraction = EnvironmentVariable(t_, "XLA_PYTHON_CLIENT_MEM_FRACTION").value_or("");
    return fraction.empty() ? "75 % of the card unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise"
                            : absl::StrCat("XLA_PYTHON_CLIENT_MEM_FRACTION=", fraction);
  }

  bool IsTakenAhead(const DeviceSite& site) const {
    return static_cast<double>(site.largest) >= kPoolShare * static_cast<double>(facts_.device.total());
  }

  int64_t HeldBy(PoolKind kind) const {
    int64_t bytes = 0;
    for (const DeviceSite& site : sites_) bytes += pools_.Of(site.library) == kind ? site.bytes : 0;
    return bytes;
  }

  // The first call that needs a context makes it, whatever that call was for.
  void WithoutRoomForContext() {
    const bool others = 2 * facts_.device.other_processes() > facts_.device.total();
    Set(others ? "other_process" : "at_start", others ? 0.9 : 0.7);
    Say(absl::StrCat(facts_.oom->api, " makes a CUDA context, and that found no room: the device had ",
                     Bytes(facts_.device.free()), " free."));
    if (others) {
      Say(absl::StrCat("Other processes hold ", Bytes(facts_.device.other_processes()), " of the card's ",
                       Bytes(facts_.device.total()), "."));
      Cause("other_process_memory", "other processes hold memory on this device", 0.9);
    }
    const int64_t contexts = ContextsMade();
    if (contexts > 0) Say(absl::StrCat("This process had made at least ", Count(contexts, "context"), " before."));
    d_.report.set_no_fix(
        others ? "within this program. A context takes some hundred MiB: stop other processes, or use another card."
               : "with certainty: how much the context needed is not known. It takes some hundred MiB.");
  }

  int64_t ContextsMade() const {
    return std::count_if(t_.device_allocations.begin(), t_.device_allocations.end(), [&](const DeviceAllocation& made) {
      return made.kind == MemoryKind::kContext && made.born < facts_.oom->time && made.died > facts_.oom->time;
    });
  }

  // The launch of a CUDA graph whose nodes allocate: the driver does not say how much it would have needed.
  void OfUnknownSize() {
    if (growth_.found) {
      Leak();
    } else {
      Set(calls_.made <= kSetUpCalls ? "at_start" : "late_allocation", 0.5);
    }
    d_.report.set_no_fix("how much the call needed is not known.");
  }

  // "another 11.00 GiB did not fit", or what can be said where the size is not known.
  std::string DidNotFit(const char* another) const {
    if (facts_.oom->kind == MemoryKind::kContext)
      return absl::StrCat("the CUDA context that ", facts_.oom->api, " makes did not fit");
    return facts_.requested > 0 ? absl::StrCat(another, Bytes(facts_.requested), " did not fit")
                                : absl::StrCat(facts_.oom->api, " needed more than was free");
  }

  void Request() {
    if (facts_.requested == 0) {
      Say(absl::StrCat(facts_.oom->api, " from ", LibraryName(facts_.oom->library), " in ",
                       ThreadName(t_, facts_.oom->thread), " needed more than the ", Bytes(facts_.device.free()),
                       " that the device had free; how much, the driver does not say."));
      return;
    }
    Say(absl::StrCat("The request was ", Bytes(facts_.requested), ", by ",
                     facts_.oom->api.empty() ? "a device call" : facts_.oom->api, " from ",
                     LibraryName(facts_.oom->library), " in ", ThreadName(t_, facts_.oom->thread), "; the device had ",
                     Bytes(facts_.device.free()), " free."));
  }

  // Why a refusal counts as the death, where it was not the last thing that the program asked for.
  void OtherThreads() {
    if (facts_.oom == nullptr) return;
    const int64_t later = CountDeviceCalls(t_, t_.end).made - calls_.made;
    if (later == 0) return;
    Say(absl::StrCat("Other threads allocated ", later, later == 1 ? " time" : " times",
                     " after it; the one that was refused did not, and the process ended with status ", t_.exit_status,
                     "."));
  }

  // Why a place that the report is about is only an offset.
  void Names() {
    std::set<std::string> libraries;
    const auto note = [&](const std::string& library, uint64_t caller, uint32_t stack) {
      if (SiteOf(t_, stack).file.empty() && FunctionName(t_, library, caller).empty()) libraries.insert(library);
    };
    if (facts_.oom != nullptr) note(facts_.oom->library, facts_.oom->caller, facts_.oom->stack);
    if (growth_.found) note(growth_.site.library, growth_.site.caller, growth_.site.stack);
    for (const std::string& library : libraries) {
      const auto why = t_.nameless.find(library);
      if (why != t_.nameless.end())
        Unknown(absl::StrCat("Names of functions in ", LibraryName(library), ": ", why->second, "."));
    }
  }

  // Calls and bytes are counted for the device of the report alone.
  void OtherDevices() {
    std::map<int32_t, int64_t> held;
    for (const DeviceAllocation& allocation : t_.device_allocations) {
      const bool counts = allocation.on_device && allocation.kind != MemoryKind::kContext &&
                          allocation.kind != MemoryKind::kCode && allocation.born <= facts_.moment;
      if (allocation.device == t_.device || !counts) continue;
      held[allocation.device] += allocation.died > facts_.moment ? allocation.bytes : 0;
    }
    if (held.empty()) return;
    std::vector<std::string> others;
    for (const auto& [device, bytes] : held) others.push_back(absl::StrCat(Bytes(bytes), " on GPU ", device));
    Say(absl::StrCat("These numbers are of GPU ", t_.device, " alone. The process then held ",
                     absl::StrJoin(others, ", "), "."));
  }

  // What is recorded and no part of the table, for its bytes need not be on the device.
  void BesideTheDevice() {
    int64_t managed = 0;
    int64_t pinned = 0;
    for (const DeviceAllocation& allocation : t_.device_allocations) {
      if (allocation.born > facts_.moment || allocation.died <= facts_.moment) continue;
      if (allocation.kind == MemoryKind::kManaged) managed += allocation.bytes;
      if (allocation.kind == MemoryKind::kHost || allocation.kind == MemoryKind::kHostPhysical)
        pinned += allocation.bytes;
    }
    if (managed > 0)
      Say(absl::StrCat("Beside this: ", Bytes(managed),
                       " of managed memory, recorded and not counted as the device's: how much of it was there is "
                       "not known."));
    if (pinned > 0)
      Say(absl::StrCat("Beside this: ", Bytes(pinned), " of pinned memory of the host, not counted as the device's."));
  }

  // By library, the two that hold most.
  void Holders() {
    std::map<std::string, int64_t> libraries;
    for (const DeviceSite& site : sites_) libraries[site.library] += site.bytes;
    std::vector<std::pair<std::string, int64_t>> ranked(libraries.begin(), libraries.end());
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (size_t i = 0; i < ranked.size() && i < 2; ++i) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", LibraryName(ranked[i].first), " ", Bytes(ranked[i].second));
    }
    if (!text.empty()) Say(absl::StrCat("Of this process's memory on the device, by library that asked: ", text, "."));
  }

  void TakenAhead() {
    for (const DeviceSite& site : sites_) {
      const PoolKind kind = pools_.Of(site.library);
      if (IsTakenAhead(site)) {
        Say(absl::StrFormat("One allocation of %s is %.0f %% of the card, made by %s: %s.", Bytes(site.largest),
                            100.0 * static_cast<double>(site.largest) / static_cast<double>(facts_.device.total()),
                            LibraryName(site.library),
                            kind == PoolKind::kXla
                                ? "the pool that JAX takes ahead and serves its arrays from"
                                : "a pool taken ahead, or one very large array; which of them cannot be seen"));
      }
      if (kind == PoolKind::kNone && !IsTakenAhead(site)) continue;
      const int64_t held = kind == PoolKind::kNone ? site.largest : HeldBy(kind);
      const char* who = kind == PoolKind::kCupy  ? " that CuPy's pool holds"
                        : kind == PoolKind::kXla ? " that JAX's pool holds"
                                                 : ", if it is a pool,";
      Unknown(absl::StrCat("How much of the ", Bytes(held), who,
                           " is in use: a pool hands its memory on by itself, and what is freed into it stays held.",
                           kind == PoolKind::kCupy  ? " cupy.get_default_memory_pool().used_bytes() would tell, and "
                                                      "free_all_blocks() gives the rest back to the device."
                           : kind == PoolKind::kXla ? " jax.devices()[0].memory_stats() would tell."
                                                    : ""));
      return;
    }
    if (facts_.device.context() - MeasuredOverhead(t_, facts_.moment) > kLargestContext) {
      Unknown(
          absl::StrCat("Who took most of the ", Bytes(facts_.device.context()),
                       " beside the recorded allocations: a context takes less, so the program took some on a way that "
                       "is not recorded",
                       facts_.pools_may_hold ? ", or its pools keep what it freed." : "."));
    }
  }

  // Where the context was not measured, more than it takes is left to it.
  std::string IdlePools() const {
    return absl::StrCat(facts_.pools_may_hold ? "at least " : "about ", Bytes(facts_.idle_pools));
  }

  std::string Survived() const {
    const OutOfMemory& last = t_.out_of_memory.back();
    return absl::StrCat(
        "The device refused ", Count(facts_.survived_refusals, "request"),
        facts_.survived_refusals == 1 ? ", of " : ", the last of ", Bytes(last.requested),
        last.library.empty() ? "" : absl::StrCat(" at ", PlaceName(t_, last.library, last.caller, last.stack)),
        ", and the program went on",
        t_.exited ? absl::StrCat(" and ended with status ", t_.exit_status) : "; its end was not recorded", ": it");
  }

  std::string Summary() const {
    if (facts_.oom == nullptr) {
      return absl::StrCat(
          facts_.survived_refusals > 0 ? Survived() : "The device did not run out of memory: this process",
          " held at most ", Bytes(facts_.peak), " of ", Bytes(facts_.device.total()),
          HasLargePiece() ? ", most of it in one allocation."
          : growth_.found ? "; but what it holds only grows."
                          : ".");
    }
    if (d_.pattern.name == "gradual_leak" && pools_.Of(growth_.site.library) == PoolKind::kCupy) {
      return absl::StrCat("Out of memory: ", Place(growth_.site), " made CuPy's pool grow, by ",
                          Bytes(growth_.site.bytes), "; ", DidNotFit("another "), ".");
    }
    if (d_.pattern.name == "gradual_leak") {
      return absl::StrCat("Out of memory: ", Place(growth_.site), " keeps what it allocates, ",
                          Bytes(growth_.site.bytes), " by then; ", DidNotFit("another "), ".");
    }
    return absl::StrCat(
        "Out of memory at ", RefusedPlace(), ": ", DidNotFit(""),
        facts_.idle_pools > 0 ? absl::StrCat(", while its pools kept ", IdlePools(), " that it had freed.") : ".");
  }

  // What grows, else the refused call.
  void Culprit(report::Culprit* culprit) const {
    if (facts_.oom == nullptr) return;
    const DeviceSite& site = growth_.site;
    if (d_.pattern.name == "gradual_leak") {
      FillDeviceCulprit(t_, site.library, site.caller, site.stack, site.bytes, culprit);
    } else {
      FillDeviceCulprit(t_, facts_.oom->library, facts_.oom->caller, facts_.oom->stack, facts_.requested, culprit);
    }
  }

  void FillLeak(report::Leak* leak) const {
    leak->set_site(Place(growth_.site));
    leak->set_bytes_per_second(growth_.bytes_per_second);
    leak->set_bytes_per_1000_calls(growth_.bytes_per_1000_calls);
  }

  const Timeline& t_;
  Diagnosis& d_;
  const Facts& facts_;
  std::vector<DeviceSite> sites_;
  DeviceCalls calls_;
  Pools pools_;
  DeviceGrowth growth_;
  std::vector<DeviceGrowth> other_growths_;
};

}  // namespace

void DiagnoseDeviceProgram(const Timeline& timeline, Diagnosis* diagnosis) {
  Verdict verdict(timeline, diagnosis);
  verdict.Decide();
  verdict.Report();
}

void AddDeviceOwners(const Timeline& timeline, const Facts& facts, size_t most, report::Report* report) {
  // The row for them may have given way to what the device said: its parts are never more than it.
  int64_t left = facts.device.other();
  if (facts.idle_pools > 0) {
    report::Owner* owner = report->add_owners();
    owner->set_category("other");
    owner->set_name("stream-ordered pools");
    owner->set_bytes(facts.idle_pools);
    owner->set_site("idle in pools (freed, kept)");
    left -= facts.idle_pools;
  }
  if (facts.page_rounding >= kWorthARow) {
    report::Owner* owner = report->add_owners();
    owner->set_category("other");
    owner->set_name("pages");
    owner->set_bytes(std::min(facts.page_rounding, left));
    owner->set_site("rounding up to pages of 2 MiB");
    left -= owner->bytes();
  }
  size_t added = 0;
  for (const DeviceSite& site : DeviceSitesAt(timeline, facts.moment)) {
    if (added++ == most || left <= 0) return;
    report::Owner* owner = report->add_owners();
    owner->set_category("other");
    owner->set_name(LibraryName(site.library));
    owner->set_bytes(std::min(site.bytes, left));
    left -= owner->bytes();
    owner->set_tensors(site.count);
    owner->set_site(PlaceName(timeline, site.library, site.caller, site.stack));
    owner->set_library(site.library);
    owner->set_api(site.api);
    if (!site.many_threads) owner->set_thread(ThreadName(timeline, site.thread));
  }
}

}  // namespace oomtrace
