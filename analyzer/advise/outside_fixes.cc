#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/device_pools.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

void FreeOthers(Advisor& a) {
  const int64_t others = a.facts().device.other_processes();
  if (!a.Worth(others)) return;
  const Prediction p = a.predictor().TrainingWithin(a.facts().WithinLimit(a.facts().available_on_device() + others));
  if (!p.fits && a.d().pattern.name != "other_process") return;
  std::vector<std::string> names;
  for (const GpuProcess& process : a.t().gpu_processes) {
    if (!process.self && names.size() < 3) {
      names.push_back(absl::StrCat(process.name.empty() ? absl::StrCat("process ", process.pid, " (")
                                                        : absl::StrCat(process.name, " (pid ", process.pid, ", "),
                                   Bytes(process.bytes), ")"));
    }
  }
  std::string list;
  for (const std::string& name : names) absl::StrAppend(&list, list.empty() ? "" : ", ", name);
  report::Fix& fix =
      a.Add("free_other_processes", "Free the memory of other processes",
            absl::StrCat("stop ", list.empty() ? "them" : list, " or use another card: ", Bytes(others), " come free"),
            p, "whatever they were doing");
  fix.set_saving(others);
}

// CuPy's pool keeps what the program let go, and PyTorch cannot have it: how much that is, the trace does not show.
void FreeCupyPool(Advisor& a) {
  const Facts& facts = a.facts();
  const int64_t idle = Pools(a.t(), facts.moment).cupy_idle_at_most();
  const int64_t missing = facts.requested - facts.device.free();
  if (!a.Worth(idle) || facts.refused_by_limit || missing <= 0) return;
  Prediction p;
  p.reserved = a.killed_at();
  p.headroom = idle - missing;
  report::Fix& fix = a.Add("cupy_free_blocks", "Give CuPy's unused blocks back to the device",
                           "cupy.get_default_memory_pool().free_all_blocks() before PyTorch needs the memory, a bound "
                           "for the pool (set_limit(size=...)), or one allocator for both: "
                           "cupy.cuda.set_allocator(...) with torch.cuda.caching_allocator_alloc",
                           p, "CuPy asks the device again for what it needs next");
  fix.set_saving(std::min(idle, missing));
  if (idle >= missing) {
    fix.set_headroom(0);
    fix.set_condition(absl::StrCat("if at least ", Bytes(missing), " of the ", Bytes(idle),
                                   " that CuPy's pool holds are idle, for what it died of"));
  }
}

void RaiseLimit(Advisor& a) {
  if (!a.Has("memory_limit")) return;
  Prediction p = a.predictor().TrainingWithin(a.facts().available_on_device());
  std::string condition;
  const int64_t spare = a.facts().device.free() - a.facts().requested;
  if (!p.fits && !a.predictor().replayable() && spare >= 0) {
    // What was asked for last is served; whether the iteration needs more after it is not on record.
    condition =
        absl::StrCat("what it died of is served, with ", Bytes(spare),
                     " to spare; if the rest of the iteration needs no more than that, where by estimate it comes "
                     "to ",
                     Bytes(p.reserved), " in all");
    p = Prediction();
    p.reserved = a.killed_at();
    p.headroom = spare;
  }
  report::Fix& fix = a.Add("raise_memory_limit", "Raise the process's memory limit",
                           "raise or remove torch.cuda.set_per_process_memory_fraction: the device itself had room", p,
                           "less for other processes");
  fix.set_condition(condition);
}

}  // namespace oomtrace
