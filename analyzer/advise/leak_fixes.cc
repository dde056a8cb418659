#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/leak_holder.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

namespace {

bool Says(const std::string& holder, const char* word) { return absl::StrContains(holder, word); }

// Everybody who has to let go: containers, and those in which an exception's traceback does the keeping.
struct Keepers {
  std::vector<std::string> containers;
  std::vector<std::string> exceptions;
};

Keepers KeepersOf(const Advisor& a) {
  Keepers keepers;
  const auto add = [&](const std::string& holder) {
    const std::string owner = GraphOwner(holder);
    const bool exception = Says(holder, "the traceback of") || Says(holder, "through a traceback");
    const size_t end = std::min(owner.find(" ("), owner.find(", through a"));
    (exception ? keepers.exceptions : keepers.containers).push_back(owner.substr(0, end));
  };
  const std::string& holder = a.d().report.culprit().holder();
  if (!holder.empty()) add(holder);
  for (const std::string& other : a.d().report.leak().other_holders()) add(other);
  return keepers;
}

std::string Listed(const std::vector<std::string>& names) { return absl::StrJoin(names, " and "); }

// What to put into containers that keep graphs.
std::string NumbersInto(const std::vector<std::string>& containers) {
  return absl::StrCat(Listed(containers), containers.size() == 1 ? " keeps" : " each keep",
                      " the graph of every step: where only the values are read, put loss.item() or tensor.detach() "
                      "into ",
                      containers.size() == 1 ? "it" : "each of them",
                      "; where a later backward needs the graph, let go once it has run: clear the list, or carry a "
                      "state on as state.detach()");
}

std::string TextInto(const std::vector<std::string>& exceptions) {
  return absl::StrCat("store str(error) or traceback.format_exc() in ", Listed(exceptions),
                      ", not the exception: its traceback keeps the variables of all its frames");
}

void AddStops(Advisor& a, const Prediction& p, const std::string& what, const std::string& site,
              const std::string& effect) {
  const Keepers keepers = KeepersOf(a);
  std::vector<std::string> changes;
  if (!keepers.exceptions.empty()) changes.push_back(TextInto(keepers.exceptions));
  if (a.d().leak.with_graph && !keepers.containers.empty()) {
    changes.push_back(NumbersInto(keepers.containers));
  } else if (a.d().leak.with_graph && keepers.exceptions.empty()) {
    changes.push_back(absl::StrCat("where ", what,
                                   " ends up in a list or a running total, store loss.item() or tensor.detach() "
                                   "instead of the tensor; where a later backward needs its graph, clear the list once "
                                   "that has run"));
  } else if (!keepers.containers.empty() || keepers.exceptions.empty()) {
    const bool several = keepers.containers.size() > 1;
    const std::string where = keepers.containers.empty()
                                  ? absl::StrCat("where ", what, " is stored, store ")
                                  : absl::StrCat("where tensors go into ", Listed(keepers.containers), ", put ");
    changes.push_back(
        absl::StrCat(where, "tensor.detach().cpu() instead, or clear ", several ? "them" : "it", " each step"));
  }
  const std::string change = absl::StrCat(absl::StrJoin(changes, "; and "), effect);
  if (!keepers.exceptions.empty() && changes.size() == 1) {
    a.Add("drop_traceback", "Keep what an exception says, not the exception", change, p, "none; the text stays");
  } else if (a.d().leak.with_graph) {
    a.Add("detach", "Keep numbers, not graphs", change, p,
          "none; .item() waits for the GPU, so call it only where the value is logged");
  } else {
    a.Add("move_to_cpu", "Do not keep tensors on the GPU from step to step", change, p,
          "a copy to host memory for each tensor kept");
    const bool several = keepers.containers.size() + keepers.exceptions.size() > 1;
    if (a.d().leak.replaced()) {
      a.Add("bound_container", "Keep a fixed number of rows",
            absl::StrCat("at ", site,
                         ", keep the newest only: after torch.cat([bank, new]), bank = bank[-limit:].clone()"),
            p, "older rows are lost");
      return;
    }
    a.Add("bound_container", "Bound the container",
          absl::StrCat(
              "give ",
              keepers.containers.empty() ? absl::StrCat("the container that keeps ", what) : Listed(keepers.containers),
              several ? " limits" : " a limit", ", as collections.deque(maxlen=...) has"),
          p, "older entries are lost");
  }
}

}  // namespace

void StopLeak(Advisor& a) {
  const LeakGroup& group = a.d().leak.groups.front();
  const std::string site = ShortSite(SiteOf(a.t(), a.t().tensors[group.example].stack));
  const std::string holder = a.d().report.culprit().holder();
  const int64_t need = a.facts().oom ? a.facts().need() : a.facts().peak;
  Prediction p;
  p.reserved = std::max<int64_t>(0, need - a.d().leak.total);
  p.headroom = a.predictor().capacity() - p.reserved;
  p.fits = p.headroom >= 0;
  AddStops(a, p, holder.empty() ? absl::StrCat("what is made at ", site) : holder, site,
           absl::StrCat(" (saves ", Bytes(static_cast<int64_t>(a.d().leak.bytes_per_boundary)),
                        a.d().leak.boundaries_are_steps ? " a step)" : " a micro-batch)"));
}

}  // namespace oomtrace
