#include "analyzer/timeline/timeline.h"

namespace oomtrace {

const char* CategoryName(Category category) {
  switch (category) {
    case Category::kParameter:
      return "parameter";
    case Category::kGradient:
      return "gradient";
    case Category::kOptimizerState:
      return "optimizer_state";
    case Category::kActivation:
      return "activation";
    case Category::kInput:
      return "input";
    case Category::kTemporary:
      return "temporary";
    case Category::kWorkspace:
      return "workspace";
    case Category::kSecondCopy:
      return "second_copy";
    case Category::kKvCache:
      return "kv_cache";
    case Category::kKept:
      return "kept";
    case Category::kUnknown:
      return "unknown";
  }
  return "unknown";
}

const char* PhaseName(PhaseKind phase) {
  switch (phase) {
    case PhaseKind::kSetUp:
      return "set_up";
    case PhaseKind::kForward:
      return "forward";
    case PhaseKind::kBackward:
      return "backward";
    case PhaseKind::kOptimizerStep:
      return "optimizer_step";
    case PhaseKind::kEvaluation:
      return "evaluation";
    case PhaseKind::kBetweenSteps:
      return "between_steps";
  }
  return "set_up";
}

}  // namespace oomtrace
