#include "analyzer/attribute/fate.h"

#include <algorithm>

#include "analyzer/timeline/queries.h"

namespace oomtrace {

Fates::Fates(const Timeline& timeline) : timeline_(timeline), cut_(timeline.end) {
  if (const OutOfMemory* fatal = FatalOutOfMemory(timeline)) cut_ = fatal->time;
}

size_t Fates::StretchAt(int64_t time) const {
  const auto after = std::upper_bound(timeline_.phases.begin(), timeline_.phases.end(), time,
                                      [](int64_t at, const PhaseMark& mark) { return at < mark.time; });
  return after == timeline_.phases.begin() ? 0 : static_cast<size_t>(after - timeline_.phases.begin() - 1);
}

Fate Fates::Of(const Tensor& tensor) const {
  Fate fate;
  fate.end = std::min(tensor.died, cut_);
  fate.open = tensor.died > cut_;
  const size_t born_in = StretchAt(tensor.born);
  // A refusal in the stretch in which the tensor was born and died: the exception may have freed it.
  for (const OutOfMemory& refusal : timeline_.out_of_memory) {
    if (refusal.time > tensor.born && refusal.time < fate.end && StretchAt(refusal.time) == born_in) {
      fate.open = true;
      fate.end = refusal.time;
      break;
    }
  }
  const size_t ends_in = StretchAt(fate.end);
  fate.within = !fate.open && ends_in == born_in;
  fate.outlived = ends_in > born_in;
  for (size_t i = born_in + 1; i <= ends_in && !fate.saw_forward; ++i) {
    const PhaseKind phase = timeline_.phases[i].phase;
    fate.saw_forward = phase == PhaseKind::kForward || phase == PhaseKind::kEvaluation || phase == PhaseKind::kBackward;
  }
  return fate;
}

}  // namespace oomtrace
