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
