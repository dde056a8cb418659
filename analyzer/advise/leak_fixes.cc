#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/leak_holder.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

void StopLeak(Advisor& a) {
  const LeakGroup& group = a.d().leak.groups.front();
  const std::string site = ShortSite(SiteOf(a.t(), a.t().tensors[group.example].stack));
  const std::string holder = a.d().report.culprit().holder();
  const std::string what = holder.empty() ? absl::StrCat("what is made at ", site) : Container(holder);
  const int64_t need = a.facts().oom ? a.facts().need() : a.facts().peak;
  Prediction p;
  p.reserved = std::max<int64_t>(0, need - a.d().leak.total);
  p.headroom = a.predictor().capacity() - p.reserved;
  p.fits = p.headroom >= 0;
  const std::string effect = absl::StrCat(" (saves ", Bytes(static_cast<int64_t>(a.d().leak.bytes_per_boundary)),
                                          a.d().leak.boundaries_are_steps ? " a step)" : " a micro-batch)");
  if (a.d().leak.with_graph) {
    const std::string change =
        KeptByGraph(holder)
            ? absl::StrCat(GraphOwner(holder),
                           " keeps the graph of every step: put loss.item() or tensor.detach() into it")
            : absl::StrCat("where ", what,
                           " ends up in a list or a running total, store loss.item() or tensor.detach() instead of the "
                           "tensor");
    a.Add("detach", "Keep numbers, not graphs", absl::StrCat(change, effect), p,
          "none; .item() waits for the GPU, so call it only where the value is logged");
  } else {
    a.Add("move_to_cpu", "Do not keep tensors on the GPU from step to step",
          absl::StrCat("where ", what, " is stored, store tensor.detach().cpu(), or clear the container each step",
                       effect),
          p, "a copy to host memory for each tensor kept");
    a.Add("bound_container", "Bound the container",
          absl::StrCat("give the container that keeps ", what, " a limit, as collections.deque(maxlen=...) does"), p,
          "older entries are lost");
  }
}

}  // namespace oomtrace
