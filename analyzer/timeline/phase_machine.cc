#include "analyzer/timeline/phase_machine.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

// The attributes under which PyTorch's own wrappers keep the model: torch.compile, DistributedDataParallel and
// DataParallel, FSDP, DeepSpeed's and Megatron's engines.
bool IsWrapperPath(const std::string& path) {
  if (path.empty()) return false;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  return std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part == "_orig_mod" || part == "module" || part == "_fsdp_wrapped_module" || part == "_forward_module";
  });
}

}  // namespace

PhaseMachine::PhaseMachine(const std::vector<Module>& modules) {
  for (const Module& module : modules) {
    if (module.root != 0 && module.root != module.identity && IsWrapperPath(module.path)) {
      wrapper_root_[module.identity] = module.root;
    }
  }
}

uint64_t PhaseMachine::Unwrapped(uint64_t module) const {
  const auto found = wrapper_root_.find(module);
  return found == wrapper_root_.end() ? module : found->second;
}

bool PhaseMachine::InEvaluationMode(uint64_t module) const {
  const auto found = evaluation_mode_.find(Unwrapped(module));
  return found != evaluation_mode_.end() && found->second;
}

void PhaseMachine::Enter(PhaseKind phase, int64_t time) {
  if (phase == phase_) return;
  phase_ = phase;
  since_ = time;
  with_gradients_ = false;
  marks_.push_back({time, phase});
}

PhaseKind PhaseMachine::OnAllocation(const Allocation& allocation) {
  // The engine's threads allocate while the thread that called it waits.
  if (allocation.backward || backward_depth_ > 0) return PhaseKind::kBackward;
  if (allocation.root_module != 0) {
    const bool gradients = allocation.grad_mode && !allocation.inference_mode;
    // An optimizer may call modules that are its own business (Shampoo's roots, say), never with gradients; with them
    // it is a closure (LBFGS).
    if (stepping_.empty() || gradients) {
      Enter(PhaseOfCall(allocation), allocation.time);
      forward_seen_ = true;
      if (phase_ == PhaseKind::kForward) forward_open_ = true;
      if (phase_ == PhaseKind::kEvaluation && gradients) with_gradients_ = true;
      return phase_;
    }
  }
  if (!stepping_.empty()) return PhaseKind::kOptimizerStep;
  Enter(PhaseOutside(allocation), allocation.time);
  return phase_;
}

PhaseKind PhaseMachine::PhaseOfCall(const Allocation& allocation) {
  if (allocation.inference_mode) return PhaseKind::kEvaluation;
  if (InEvaluationMode(allocation.root_module)) return PhaseKind::kEvaluation;
  if (allocation.grad_mode || allocation.keeps_graph) return PhaseKind::kForward;
  // Gradients off, training mode: an excursion of a forward that has begun (a detached target, a re-entrant
  // checkpoint), or an evaluation whose author did not call eval().
  return phase_ == PhaseKind::kForward ? PhaseKind::kForward : PhaseKind::kEvaluation;
}

PhaseKind PhaseMachine::PhaseOutside(const Allocation& allocation) const {
  const bool gradients = allocation.grad_mode && !allocation.inference_mode;
  // Gradients are on again and no module runs: the evaluation without them is over. It may have been a teacher's, in
  // the middle of a forward.
  if (phase_ == PhaseKind::kEvaluation && gradients && !with_gradients_) {
    return forward_open_ ? PhaseKind::kForward : PhaseKind::kBetweenSteps;
  }
  return phase_;
}

void PhaseMachine::OnPhase(const PhaseEvent& event) {
  switch (event.kind) {
    case trace::Phase::BACKWARD_BEGIN:
      return BackwardBegins(event);
    case trace::Phase::BACKWARD_END:
      return BackwardEnds(event);
    case trace::Phase::OPTIMIZER_STEP_BEGIN:
      return OptimizerBegins(event);
    case trace::Phase::OPTIMIZER_STEP_END:
      return OptimizerEnds(event);
    case trace::Phase::TRAIN_MODE:
      return ModeChanges(event, false);
    case trace::Phase::EVAL_MODE:
      return ModeChanges(event, true);
    default:
      return;
  }
}

void PhaseMachine::BackwardBegins(const PhaseEvent& event) {
  if (++backward_depth_ > 1) return;
  backward_thread_ = event.thread;
  if (phase_ == PhaseKind::kEvaluation) {
    relabel_since_ = since_;
    for (auto mark = marks_.rbegin(); mark != marks_.rend() && mark->time >= since_; ++mark) {
      if (mark->phase == PhaseKind::kEvaluation) mark->phase = PhaseKind::kForward;
    }
  }
  Enter(PhaseKind::kBackward, event.time);
}

void PhaseMachine::BackwardEnds(const PhaseEvent& event) {
  if (backward_depth_ == 0 || --backward_depth_ > 0) return;
  forward_seen_ = forward_open_ = false;
  Enter(stepping_.empty() ? PhaseKind::kBetweenSteps : PhaseKind::kOptimizerStep, event.time);
}

void PhaseMachine::OptimizerBegins(const PhaseEvent& event) {
  // An exception may leave either open: the engine's thread cannot step before the engine has returned, and no
  // optimizer steps within its own step.
  if (backward_depth_ > 0 && event.thread == backward_thread_) backward_depth_ = 0;
  if (std::find(stepping_.begin(), stepping_.end(), event.object) != stepping_.end()) stepping_.clear();
  stepping_.push_back(event.object);
  // A step within the backward (one optimizer for each parameter, called by gradient hooks) does not end it.
  if (backward_depth_ == 0) Enter(PhaseKind::kOptimizerStep, event.time);
}

void PhaseMachine::OptimizerEnds(const PhaseEvent& event) {
  const auto stepping = std::find(stepping_.begin(), stepping_.end(), event.object);
  if (stepping == stepping_.end()) return;
  stepping_.erase(stepping, stepping_.end());
  if (stepping_.empty() && backward_depth_ == 0) {
    forward_open_ = false;
    Enter(PhaseKind::kBetweenSteps, event.time);
  }
}

void PhaseMachine::ModeChanges(const PhaseEvent& event, bool evaluation) {
  evaluation_mode_[Unwrapped(event.object)] = evaluation;
  if (evaluation) forward_open_ = false;
  const PhaseKind ends = evaluation ? PhaseKind::kForward : PhaseKind::kEvaluation;
  if (phase_ == ends) Enter(PhaseKind::kBetweenSteps, event.time);
}

}  // namespace oomtrace
