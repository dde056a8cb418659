// Which phase of training the process is in, from few and rare signals.
//
// Signals, strongest first: the autograd engine is running (on this thread's mark, or said of an allocation); a module
// is being called, with gradients or without, its root in training or in evaluation mode; an optimizer is stepping.
// What happens outside all of these keeps a forward or an evaluation going (a loss computed outside the model belongs
// to it) and is otherwise between two steps; before the first forward or evaluation everything is set-up.
//
// What looks like an evaluation and is followed by a backward was the training forward (models from a hub come in
// evaluation mode, and train() is easily forgotten): RelabelSince says so.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/events.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

class PhaseMachine {
 public:
  struct Allocation {
    int64_t time = 0;
    bool grad_mode = false;
    bool inference_mode = false;
    bool backward = false;
    uint64_t root_module = 0;
    bool keeps_graph = false;  // gradients are off, and a graph is kept all the same: see GraphKeepingStacks
  };

  // `modules` as the trace names them, by identity: wrappers of a model share its mode.
  explicit PhaseMachine(const std::vector<Module>& modules);

  // The phase that an allocation belongs to. May begin a new one.
  PhaseKind OnAllocation(const Allocation& allocation);

  void OnPhase(const PhaseEvent& event);

  PhaseKind phase() const { return phase_; }

  // When what was called an evaluation since then has turned out to be a training forward: asked after each OnPhase,
  // answered once.
  std::optional<int64_t> RelabelSince() { return std::exchange(relabel_since_, std::nullopt); }

  // Whether a module's forward or evaluation came before the backward that has just begun; without, the forward is
  // functional code, and only what dies in the backward tells where it was.
  bool forward_seen() const { return forward_seen_; }

  std::vector<PhaseMark> TakeMarks() { return std::exchange(marks_, {}); }

 private:
  void Enter(PhaseKind phase, int64_t time);
  PhaseKind PhaseOfCall(const Allocation& allocation);
  PhaseKind PhaseOutside(const Allocation& allocation) const;
  bool InEvaluationMode(uint64_t module) const;
  uint64_t Unwrapped(uint64_t module) const;
  void BackwardBegins(const PhaseEvent& event);
  void BackwardEnds(const PhaseEvent& event);
  void OptimizerBegins(const PhaseEvent& event);
  void OptimizerEnds(const PhaseEvent& event);
  void ModeChanges(const PhaseEvent& event, bool evaluation);

  absl::flat_hash_map<uint64_t, uint64_t> wrapper_root_;  // the root of a module that is a model in a wrapper
  absl::flat_hash_map<uint64_t, bool> evaluation_mode_;   // by unwrapped identity
  PhaseKind phase_ = PhaseKind::kSetUp;
  int64_t since_ = 0;
  bool with_gradients_ = false;  // the evaluation that is going on has had gradients on
  bool forward_seen_ = false;    // a module was called since the last backward
  bool forward_open_ = false;    // a training forward has begun, and its backward has not
  int backward_depth_ = 0;
  uint32_t backward_thread_ = 0;
  std::vector<uint64_t> stepping_;  // optimizers, outermost first
  std::optional<int64_t> relabel_since_;
  std::vector<PhaseMark> marks_{{0, PhaseKind::kSetUp}};
};

}  // namespace oomtrace
