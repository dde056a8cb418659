#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
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

// The graph or the pool has to go: as long as somebody has it, empty_cache() leaves its segments alone.
void ReleasePools(Advisor& a) {
  const int64_t idle = a.facts().private_idle;
  if (!a.Worth(idle)) return;
  Prediction p;
  p.reserved = std::max<int64_t>(0, a.killed_at() - idle);
  p.headroom = a.facts().device.free() + a.facts().unallocated() + idle - a.facts().requested;
  p.fits = p.headroom >= 0;
  a.Add("release_private_pools", "Let go of what private pools keep",
        absl::StrCat("delete the torch.cuda.MemPool or CUDA graph that the program is done with (every reference, and "
                     "the tensors made in it) before this request: ",
                     Bytes(idle),
                     " of theirs are idle, which torch.cuda.empty_cache() does not give back while the pool is there; "
                     "or make what did not fit inside the same pool"),
        p, "a graph has to be captured again before it is replayed");
}

void RaiseLimit(Advisor& a) {
  if (!a.Has("memory_limit")) return;
  Prediction p = a.predictor().TrainingWithin(a.facts().available_on_device());
  if (!a.predictor().replayable()) {
    // What was asked for last is served; whether the iteration needs more after it is not on record.
    p = Prediction();
    p.reserved = a.killed_at();
    p.headroom = a.facts().device.free() - a.facts().requested;
    p.fits = p.headroom >= 0;
  }
  a.Add("raise_memory_limit", "Raise the process's memory limit",
        "raise or remove torch.cuda.set_per_process_memory_fraction: the device itself had room", p,
        "less for other processes");
}

}  // namespace oomtrace
