// Fixes for programs without PyTorch. No allocator of theirs is modelled, so every prediction is an estimate: what the
// device calls hold, less what the change gives back.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/device_growth.h"
#include "analyzer/diagnose/device_pools.h"
#include "analyzer/diagnose/device_program.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

class DeviceAdvisor {
 public:
  explicit DeviceAdvisor(Diagnosis& diagnosis)
      : facts_(diagnosis.facts),
        report_(diagnosis.report),
        pattern_(diagnosis.pattern.name),
        pools_(*facts_.timeline, facts_.moment) {
    const Timeline& timeline = *facts_.timeline;
    sites_ = DeviceSitesAt(timeline, facts_.moment);
    if (facts_.oom != nullptr) freed_into_pools_ = FreedIntoOtherPools(timeline, *facts_.oom);
    growths_ = FindDeviceGrowths(timeline, sites_, facts_.moment);
    for (const DeviceSite& site : sites_) {
      own_ += site.bytes;
      if (pools_.Of(site.library) == PoolKind::kXla) xla_ += site.bytes;
      if (pools_.Of(site.library) == PoolKind::kCupy) cupy_ += site.bytes;
    }
  }

  void Advise() {
    if (facts_.oom == nullptr) {
      if (xla_ > 0) GrowXlaPool();
      return;
    }
    if (facts_.requested == 0) return;  // how much would be enough is not known
    FreeOthers();
    if (pattern_ == "gradual_leak" && !growths_.empty()) StopGrowth();
    if (HasCause("memory_per_thread")) FewerThreads();
    if (xla_ > 0 && pools_.Of(facts_.oom->library) != PoolKind::kXla) ShrinkXlaPool();
    const bool cupy_gave_up = CupyGaveUp(*facts_.timeline, *facts_.oom);
    if (cupy_ > 0 && !cupy_gave_up) FreeCupyPool();
    const bool idle = facts_.idle_pools > 0 || (facts_.pools_may_hold && freed_into_pools_ > 0);
    if (idle && freed_into_pools_ > 0) TrimPool();
    if (cupy_gave_up) SpillToHost();
    if (pattern_ != "gradual_leak" && !facts_.without_context) Shrink();
    if (pattern_ != "gradual_leak" && !growths_.empty()) StopGrowth();
  }

 private:
  // `saving` bytes less held on the device when the request comes.
  report::Fix& Add(const char* id, std::string title, std::string change, int64_t saving, std::string price) {
    report::Fix& fix = *report_.add_fixes();
    const int64_t request = facts_.oom != nullptr ? facts_.requested : 0;
    fix.set_id(id);
    fix.set_title(std::move(title));
    fix.set_change(std::move(change));
    fix.set_saving(saving);
    fix.set_predicted_peak(std::max<int64_t>(0, own_ + facts_.idle_pools + request - saving));
    fix.set_headroom(facts_.device.free() + saving - request);
    fix.set_fits(fix.headroom() >= 0);
    fix.set_basis("estimated");
    fix.set_price(std::move(price));
    return fix;
  }

  bool HasCause(const char* id) const {
    return std::any_of(report_.causes().begin(), report_.causes().end(),
                       [&](const report::Cause& cause) { return cause.id() == id; });
  }

  std::string Place(const DeviceSite& site) const {
    return PlaceName(*facts_.timeline, site.library, site.caller, site.stack);
  }

  void FreeOthers() {
    const int64_t others = facts_.device.other_processes();
    if (50 * others < facts_.device.total()) return;
    Add("free_other_processes", "Free the memory of other processes",
        absl::StrCat("stop them or use another card: ", Bytes(others), " come free"), others,
        "whatever they were doing");
  }

  // The largest growth; those that are left say how long that lasts.
  void StopGrowth() {
    const DeviceSite& site = growths_.front().site;
    report::Fix& fix = Add("stop_growth", "Keep less of what grows",
                           absl::StrCat("free what ", Place(site),
                                        " allocated once it is used, or move it to the host; here with one "
                                        "of ",
                                        site.count, " held at a time"),
                           site.taken - site.largest, "none, if nothing reads the old ones again");
    double per_call = 0;
    std::vector<std::string> others;
    for (size_t i = 1; i < growths_.size(); ++i) {
      per_call += growths_[i].taken_per_1000_calls / 1000;
      others.push_back(Place(growths_[i].site));
    }
    if (per_call <= 0 || fix.headroom() <= 0) return;
    fix.set_change(absl::StrCat(
        fix.change(), ". ", absl::StrJoin(others, " and "), others.size() == 1 ? " grows" : " grow",
        " as well: with this alone the device is full again after about ",
        std::llround(static_cast<double>(fix.headroom()) / per_call), " more allocations, so stop all of them"));
  }

  void FewerThreads() {
    for (const DeviceSite& site : sites_) {
      if (!IsOnePerThread(*facts_.timeline, site, facts_.moment) ||
          Place(site) != PlaceName(*facts_.timeline, facts_.oom->library, facts_.oom->caller, facts_.oom->stack))
        continue;
      report::Fix& fix =
          Add("fewer_threads", "Run fewer threads at a time",
              absl::StrCat("at most ", site.count, " threads that allocate at ", Place(site), " at a time (each holds ",
                           Bytes(site.largest), "), or one allocation that they share in turn"),
              facts_.requested, "less runs at the same time");
      fix.set_headroom(facts_.device.free());
      return;
    }
  }

  void GrowXlaPool() {
    const int64_t more = std::max<int64_t>(0, facts_.device.free() - facts_.device.total() / 20);
    if (50 * more < facts_.device.total()) return;
    report::Fix& fix = Add("xla_pool_fraction", "Let JAX's pool have more of the card",
                           absl::StrCat("XLA_PYTHON_CLIENT_MEM_FRACTION=.95 (the default is .75): ", Bytes(more),
                                        " more, if it was the pool that was full"),
                           0, "nothing is left for other programs on the card");
    fix.set_predicted_peak(own_ + more);
    fix.set_headroom(facts_.device.free() - more);
  }

  void ShrinkXlaPool() {
    Add("xla_no_preallocation", "Let JAX take only what it needs",
        "XLA_PYTHON_CLIENT_PREALLOCATE=false, or XLA_PYTHON_CLIENT_MEM_FRACTION=.5", xla_ / 2,
        "JAX's memory may fragment; how much of its pool was in use is not known, half is assumed");
  }

  // What rests on an amount that the trace does not show: `most` of it at most.
  void Suppose(const std::string& of, int64_t most, report::Fix* fix) {
    const int64_t missing = facts_.requested - facts_.device.free();
    if (most < missing || missing <= 0) return;
    fix->set_fits(false);
    fix->set_predicted_peak(fix->predicted_peak() + fix->saving() - missing);
    fix->set_saving(missing);
    fix->set_headroom(0);
    fix->set_condition(absl::StrCat("if at least ", Bytes(missing), " of the ", Bytes(most), " ", of, " are idle"));
  }

  void FreeCupyPool() {
    report::Fix& fix = Add("cupy_free_blocks", "Give CuPy's unused blocks back before others need memory",
                           "cupy.get_default_memory_pool().free_all_blocks() before this request, or a bound for the "
                           "pool: cupy.get_default_memory_pool().set_limit(size=...)",
                           pools_.cupy_idle_at_most(), "CuPy asks the device again for what it needs next");
    Suppose("that CuPy's pool holds", pools_.cupy_idle_at_most(), &fix);
  }

  void TrimPool() {
    const int64_t idle = facts_.pools_may_hold ? freed_into_pools_ : std::min(freed_into_pools_, facts_.idle_pools);
    report::Fix& fix = Add("trim_pool", "Give what the stream-ordered pool keeps back to the device",
                           "cudaMemPoolTrimTo(pool, 0) after a synchronization, or a lower "
                           "cudaMemPoolAttrReleaseThreshold",
                           idle, "later allocations from the pool are slower");
    if (facts_.pools_may_hold && facts_.idle_pools < facts_.requested - facts_.device.free())
      Suppose("that were freed into the pools", idle, &fix);
  }

  // CuPy has freed its unused blocks and tried again before it gave up.
  void SpillToHost() {
    report::Fix& fix = Add("cupy_managed_memory", "Let what does not fit live in host memory",
                           "cupy.cuda.set_allocator(cupy.cuda.MemoryPool(cupy.cuda.malloc_managed).malloc)",
                           facts_.requested, "what is on the host is read over the bus, many times slower");
    fix.set_headroom(std::max<int64_t>(0, facts_.device.free()));
    fix.set_fits(true);
  }

  void Shrink() {
    const int64_t missing = facts_.requested - facts_.device.free();
    if (missing <= 0) return;
    Add("smaller_problem", "Ask for less at a time",
        absl::StrCat("work in smaller pieces, or in a smaller type: ", Bytes(missing), " less are enough here"),
        missing, "more passes over the data");
  }

  const Facts& facts_;
  report::Report& report_;
  std::string pattern_;
  Pools pools_;
  std::vector<DeviceSite> sites_;
  std::vector<DeviceGrowth> growths_;
  int64_t own_ = 0;
  int64_t xla_ = 0;
  int64_t cupy_ = 0;
  int64_t freed_into_pools_ = 0;
};

}  // namespace

void AdviseDeviceProgram(Diagnosis& diagnosis) { DeviceAdvisor(diagnosis).Advise(); }

}  // namespace oomtrace
