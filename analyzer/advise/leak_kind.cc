#include "analyzer/advise/leak_kind.h"

#include <set>
#include <string>

#include "absl/strings/match.h"

namespace oomtrace {
namespace {

struct Shares {
  int64_t all = 0;
  int64_t tensors = 0;
  int64_t states = 0;      // of optimizers
  int64_t parameters = 0;  // that a module or an optimizer owns
  int64_t copies = 0;      // of the parameters' shapes, with two dimensions and more
};

Shares SharesOf(const Diagnosis& d) {
  const Timeline& t = *d.facts.timeline;
  std::set<uint32_t> shapes;
  for (const uint32_t i : d.facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.category == Category::kParameter && t.layouts[tensor.layout].shape.size() >= 2)
      shapes.insert(tensor.layout);
  }
  Shares shares;
  for (const uint32_t i : LeakedTensors(d.facts, d.leak)) {
    const Tensor& tensor = t.tensors[i];
    shares.all += tensor.bytes;
    ++shares.tensors;
    if (tensor.category == Category::kOptimizerState) shares.states += tensor.bytes;
    if (tensor.category == Category::kParameter || tensor.category == Category::kGradient)
      shares.parameters += tensor.bytes;
    if (tensor.category == Category::kSecondCopy || shapes.contains(tensor.layout)) shares.copies += tensor.bytes;
  }
  return shares;
}

// PyTorch's names for the dictionaries of hooks, at modules and at tensors.
bool AreHooks(const std::string& holder) {
  for (const char* name : {"._forward_hooks", "._forward_pre_hooks", "._backward_hooks", "._backward_pre_hooks",
                           "._post_accumulate_grad_hooks"}) {
    if (absl::StrContains(holder, name)) return true;
  }
  return false;
}

}  // namespace

LeakKind KindOf(const Diagnosis& diagnosis) {
  const std::string& holder = diagnosis.report.culprit().holder();
  if (AreHooks(holder)) return LeakKind::kHooks;
  if (absl::StrContains(holder, "in a reference cycle")) return LeakKind::kCycle;
  if (absl::StartsWith(holder, "cache of ")) return LeakKind::kFunctions;
  if (absl::StrContains(holder, "(suspended ")) return LeakKind::kSuspended;
  const Shares shares = SharesOf(diagnosis);
  if (2 * shares.states > shares.all) return LeakKind::kOptimizers;
  if (2 * shares.parameters > shares.all) return LeakKind::kParameters;
  if (10 * shares.copies > 9 * shares.all && shares.tensors >= 2 * diagnosis.leak.births) return LeakKind::kModels;
  return diagnosis.leak.growth == LeakGrowth::kQueued ? LeakKind::kQueue : LeakKind::kContainer;
}

}  // namespace oomtrace
