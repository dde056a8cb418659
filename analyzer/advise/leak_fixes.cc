#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/advise/leak_kind.h"
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

// The graph that containers, or exceptions' tracebacks, keep.
void StopGraphs(Advisor& a, const Keepers& keepers, const Prediction& p, const std::string& what,
                const std::string& effect) {
  std::vector<std::string> changes;
  if (!keepers.exceptions.empty()) changes.push_back(TextInto(keepers.exceptions));
  if (!keepers.containers.empty()) {
    changes.push_back(NumbersInto(keepers.containers));
  } else if (keepers.exceptions.empty()) {
    changes.push_back(absl::StrCat("where ", what,
                                   " ends up in a list or a running total, store loss.item() or tensor.detach() "
                                   "instead of the tensor; where a later backward needs its graph, clear the list once "
                                   "that has run"));
  }
  const std::string change = absl::StrCat(absl::StrJoin(changes, "; and "), effect);
  if (keepers.containers.empty() && !keepers.exceptions.empty()) {
    a.Add("drop_traceback", "Keep what an exception says, not the exception", change, p, "none; the text stays");
  } else {
    a.Add("detach", "Keep numbers, not graphs", change, p,
          "none; .item() waits for the GPU, so call it only where the value is logged");
  }
}

void StopContainers(Advisor& a, const Keepers& keepers, const Prediction& p, const std::string& what,
                    const std::string& site, const std::string& effect) {
  const bool several = keepers.containers.size() > 1;
  std::vector<std::string> changes;
  if (!keepers.exceptions.empty()) changes.push_back(TextInto(keepers.exceptions));
  if (!keepers.containers.empty() || keepers.exceptions.empty()) {
    const std::string where = keepers.containers.empty()
                                  ? absl::StrCat("where ", what, " is stored, store ")
                                  : absl::StrCat("where tensors go into ", Listed(keepers.containers), ", put ");
    changes.push_back(
        absl::StrCat(where, "tensor.detach().cpu() instead, or clear ", several ? "them" : "it", " each step"));
  }
  const std::string change = absl::StrCat(absl::StrJoin(changes, "; and "), effect);
  if (keepers.containers.empty() && !keepers.exceptions.empty()) {
    a.Add("drop_traceback", "Keep what an exception says, not the exception", change, p, "none; the text stays");
    return;
  }
  a.Add("move_to_cpu", "Do not keep tensors on the GPU from step to step", change, p,
        "a copy to host memory for each tensor kept");
  if (a.d().leak.replaced()) {
    a.Add(
        "bound_container", "Keep a fixed number of rows",
        absl::StrCat("at ", site, ", keep the newest only: after torch.cat([bank, new]), bank = bank[-limit:].clone()"),
        p, "older rows are lost");
    return;
  }
  a.Add("bound_container", "Bound the container",
        absl::StrCat(
            "give ",
            keepers.containers.empty() ? absl::StrCat("the container that keeps ", what) : Listed(keepers.containers),
            keepers.containers.size() + keepers.exceptions.size() > 1 ? " limits" : " a limit",
            ", as collections.deque(maxlen=...) has"),
        p, "older entries are lost");
}

// What is no mere container of tensors: a change of its own each.
void StopOther(Advisor& a, LeakKind kind, const Prediction& p, const std::string& name, const std::string& effect) {
  switch (kind) {
    case LeakKind::kHooks:
      a.Add("remove_hooks", "Register the hook once, or remove it",
            absl::StrCat("a hook is added to ", name,
                         " again and again, and each keeps what it closes over: register it once before the loop, or "
                         "keep the handle that the registration returns and call handle.remove() when the step is over",
                         effect),
            p, "none");
      return;
    case LeakKind::kCycle:
      a.Add("break_cycle", "Break the reference cycle",
            absl::StrCat("objects like the owner of ", name,
                         " refer to themselves, so that only the garbage collector can free them: let the reference "
                         "back be a weakref.ref, or set it to None when the object is done with; or call gc.collect() "
                         "every few steps (and gc.enable(), if the program has switched the collector off)",
                         effect),
            p, "none; gc.collect() takes some ten milliseconds");
      return;
    case LeakKind::kFunctions:
      a.Add("bound_container", "Bound the cache",
            absl::StrCat("give the ", name, " a maxsize that fits, call its cache_clear(), or do not cache tensors",
                         effect),
            p, "what the cache has forgotten is computed again");
      return;
    case LeakKind::kSuspended:
      a.Add("finish_generators", "Do not leave generators or coroutines waiting",
            absl::StrCat(name,
                         " stays alive while it waits to be resumed: run each to its end or call close(), and let "
                         "no list keep it, or hold only tensor.detach().cpu() across the yield or await; where "
                         "one of them gathers tensors in a list of its own, bound that list",
                         effect),
            p, "none");
      return;
    case LeakKind::kModels:
      a.Add("move_to_cpu", "Keep copies of the model on the CPU",
            absl::StrCat("what goes into ", name,
                         " is as large as the model each time: put {key: value.detach().cpu() for key, value in "
                         "model.state_dict().items()} into it, save it with torch.save, or keep the newest or the best "
                         "only",
                         effect),
            p, "a copy to host memory each time");
      return;
    case LeakKind::kOptimizers:
      a.Add("drop_optimizers", "Let go of old optimizers",
            absl::StrCat("what ", name,
                         " keeps (an optimizer, or a scheduler that refers to one) keeps that optimizer's state: make "
                         "one optimizer and go on with it, or let go of the old one before the next is made",
                         effect),
            p, "the momentum of an optimizer that is dropped is lost");
      return;
    case LeakKind::kParameters:
      a.Add("drop_parameters", "Do not add parameters without end",
            absl::StrCat(name,
                         " gets more parameters again and again, each with a gradient and optimizer state: make "
                         "them once, or remove the old ones from the module and from the optimizer",
                         effect),
            p, "what is removed is not trained on");
      return;
    default:
      a.Add("bound_queue", "Let no more in than comes out",
            absl::StrCat("more tensors go into ", name,
                         " than come out of it: give it a limit at which the producer waits (queue.Queue(maxsize=...)) "
                         "or the oldest is dropped (collections.deque(maxlen=...)), or take out as many as go in",
                         effect),
            p, "the producer waits, or entries are lost");
      a.Add("move_to_cpu", "Keep what waits on the CPU",
            absl::StrCat("put tensor.cpu() into ", name, " and move it to the GPU when it comes out", effect), p,
            "two copies of each tensor; host memory grows as long as more goes in than comes out");
  }
}

// What leaves the peak with the leak. Of tensors made anew each time, older ones and new ones are there at once.
int64_t Leaving(const Advisor& a) {
  const Leak& leak = a.d().leak;
  if (leak.growth != LeakGrowth::kMadeAnew) return leak.total;
  const std::set<uint32_t> stacks = leak.stacks();
  int64_t bytes = -static_cast<int64_t>(leak.bytes_per_boundary);  // one stays: the one in work
  for (const uint32_t i : a.facts().live) {
    if (stacks.contains(a.t().tensors[i].stack)) bytes += a.t().tensors[i].bytes;
  }
  if (a.facts().oom && stacks.contains(a.facts().oom->stack)) bytes += a.facts().refused;
  return std::max(leak.total, bytes);
}

}  // namespace

void StopLeak(Advisor& a) {
  const Leak& leak = a.d().leak;
  const LeakGroup& group = leak.groups.front();
  const std::string site = ShortSite(SiteOf(a.t(), a.t().tensors[group.example].stack));
  const std::string holder = a.d().report.culprit().holder();
  const int64_t need = a.facts().oom ? a.facts().need() : a.facts().peak;
  Prediction p;
  p.reserved = std::max<int64_t>(0, need - Leaving(a));
  p.headroom = a.predictor().capacity() - p.reserved;
  p.fits = p.headroom >= 0;
  const std::string effect = absl::StrCat(" (saves ", Bytes(static_cast<int64_t>(leak.bytes_per_boundary)),
                                          leak.boundaries_are_steps ? " a step)" : " a micro-batch)");
  const std::string what = holder.empty() ? absl::StrCat("what is made at ", site) : holder;
  const Keepers keepers = KeepersOf(a);
  const LeakKind kind = KindOf(a.d());
  if (leak.with_graph && kind != LeakKind::kHooks && kind != LeakKind::kCycle) {
    StopGraphs(a, keepers, p, what, effect);
  } else if (kind == LeakKind::kContainer || keepers.containers.empty()) {
    StopContainers(a, keepers, p, what, site, effect);
  } else {
    StopOther(a, kind, p, Listed(keepers.containers), effect);
  }
}

}  // namespace oomtrace
