#include "analyzer/advise/outlined_run.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "analyzer/diagnose/logits.h"
#include "analyzer/timeline/models.h"

namespace oomtrace {
namespace {

constexpr uint32_t kFirstNewBlock = 1u << 31;  // no tensor's index

int64_t Times(int64_t bytes, double factor) {
  return static_cast<int64_t>(std::llround(static_cast<double>(bytes) * factor));
}

class Outline {
 public:
  Outline(const Facts& facts, const BatchCarriers& carriers, const States& states, const Demand& demand,
          const OutlineChange& change)
      : facts_(facts),
        t_(*facts.timeline),
        carriers_(carriers),
        states_(states),
        demand_(demand),
        change_(change),
        logits_(*facts.timeline),
        models_(*facts.timeline) {}

  std::vector<StreamOp> Build() {
    FindTemplate();
    if (change_.LeavesRecord()) {
      Recorded();
    } else {
      Model();
    }
    const PhaseKind phase = change_.LeavesRecord() ? facts_.oom->phase : PhaseKind::kSetUp;
    if (phase != PhaseKind::kOptimizerStep) {
      if (phase != PhaseKind::kBackward) Forward();
      Backward();
      if (change_.batch < 1) Whole();
    }
    Step();
    Whole();
    Step();
    return std::move(stream_);
  }

 private:
  uint32_t New(int64_t bytes) {
    const uint32_t block = next_block_++;
    stream_.push_back({.block = block, .bytes = std::max<int64_t>(1, bytes)});
    return block;
  }
  void Free(uint32_t block) { stream_.push_back({.block = block, .bytes = 0}); }

  bool OfForward(const Tensor& tensor) const {
    const bool evaluation = facts_.oom->phase == PhaseKind::kEvaluation;
    return carriers_.Carries(tensor) && tensor.category != Category::kInput && tensor.device == t_.device &&
           (evaluation || tensor.born >= t_.first_training_forward);
  }

  bool OfUntrained(uint32_t stack, bool grad_mode) const {
    return grad_mode && models_.Untrained(t_.stacks[stack].root_module);
  }

  int64_t Scaled(const Tensor& tensor) const {
    return carriers_.Carries(tensor) ? std::max<int64_t>(1, Times(tensor.bytes, change_.batch)) : tensor.bytes;
  }

  // What a whole forward keeps: the tensors that carried the batch when those took most, in the order of their births,
  // and again from the first one until the demand is met.
  void FindTemplate() {
    int64_t now = 0, most = 0, when = facts_.moment;
    for (const TimedOp& op : RecordedStream(t_)) {
      if (op.time > facts_.moment) break;
      const Tensor& tensor = t_.tensors[op.tensor];
      if (!OfForward(tensor)) continue;
      now += op.free ? -tensor.bytes : tensor.bytes;
      if (now > most) most = now, when = op.time;
    }
    for (const Tensor& tensor : t_.tensors) {
      if (tensor.born > when) break;
      if (tensor.died <= when || !OfForward(tensor) || logits_.Is(tensor.layout)) continue;
      if (change_.untrained_graphs || !OfUntrained(tensor.stack, tensor.grad_mode)) {
        kept_.push_back(tensor.bytes);
      } else {
        passing_ = std::max(passing_, tensor.bytes);
      }
    }
    const OutOfMemory& oom = *facts_.oom;
    const bool refused = oom.layout != 0 && carriers_.Carries(t_.layouts[oom.layout].shape) && !logits_.Is(oom.layout);
    const bool passes = !change_.untrained_graphs && OfUntrained(oom.stack, oom.grad_mode);
    if (refused && when == facts_.moment && !passes) kept_.push_back(facts_.refused);
    const int64_t demand = demand_.kept - (change_.untrained_graphs ? 0 : demand_.untrained);
    RepeatUntil(demand - demand_.to_come_of_models());
    kept_.insert(kept_.end(), demand_.models_to_come.begin(), demand_.models_to_come.end());
    for (int64_t& bytes : kept_) bytes = Times(bytes, change_.batch * change_.kept);
    passing_ = Times(passing_, change_.batch);
  }

  // The tensors that were seen, once more from the first one.
  void RepeatUntil(int64_t demand) {
    int64_t sum = 0;
    for (const int64_t bytes : kept_) sum += bytes;
    if (kept_.empty() && demand > 0) kept_.push_back(demand);
    const size_t seen = kept_.size();
    for (size_t i = 0; sum < demand && sum > 0; ++i) {
      kept_.push_back(std::min(kept_[i % seen], demand - sum));
      sum += kept_.back();
    }
  }

  void Recorded() {
    for (const TimedOp& op : RecordedStream(t_)) {
      if (op.time > facts_.moment) break;
      StreamOp out = ToStream(t_, op);
      if (!op.free) out.bytes = Scaled(t_.tensors[op.tensor]);
      stream_.push_back(out);
    }
    // What comes next in this iteration lets go of all that the forward in work has made, and makes it once more: so
    // the sizes are right, and the gaps that the recorded part has left are still there.
    const bool forward = facts_.oom->phase == PhaseKind::kForward || facts_.oom->phase == PhaseKind::kEvaluation;
    int64_t workspace = 0;
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (OfForward(tensor)) {
        if (forward) {
          Free(i);
        } else if (facts_.oom->phase == PhaseKind::kBackward && tensor.category == Category::kActivation) {
          activations_.emplace_back(i, Scaled(tensor));
        }
      } else if (tensor.category == Category::kGradient) {
        gradients_made_ += tensor.bytes;
      } else if (tensor.category == Category::kOptimizerState) {
        state_made_ += tensor.bytes;
      } else if (tensor.category == Category::kWorkspace) {
        workspace = std::max(workspace, tensor.bytes);
      }
    }
    // The autograd engine's threads have workspaces of their own.
    if (forward) New(workspace);
    if (demand_.to_come > 0) New(demand_.to_come);
  }

  void Model() {
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      const bool weight = tensor.category == Category::kParameter || tensor.category == Category::kSecondCopy;
      if (weight) New(Times(tensor.bytes, change_.weights));
    }
    if (demand_.fixed > 0) New(demand_.fixed);
    if (demand_.inputs > 0) New(Times(demand_.inputs, change_.batch));
    if (change_.unseen > 0) New(change_.unseen);
  }

  // Bytes of each parameter that is trained, last one first, cut to what gradients come to in all.
  std::vector<int64_t> Trained(int64_t bytes) const {
    std::vector<int64_t> sizes;
    int64_t all = 0;
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (tensor.category != Category::kParameter) continue;
      sizes.push_back(tensor.bytes);
      all += tensor.bytes;
    }
    std::reverse(sizes.begin(), sizes.end());
    const double share = all > 0 ? static_cast<double>(bytes) / static_cast<double>(all) : 0;
    for (int64_t& size : sizes) size = Times(size, share);
    std::erase(sizes, 0);
    return sizes;
  }

  void Forward() {
    activations_.clear();
    // Without a graph a few tensors of a chain of layers live at a time, and the last one stays.
    if (passing_ > 0) {
      const uint32_t input = New(passing_), between = New(passing_);
      activations_.emplace_back(New(passing_), passing_);
      Free(input);
      Free(between);
    }
    // A convolution's scratch space, or a gap that nothing fits into: as large as one activation, through the pass.
    if (!kept_.empty()) scratch_ = New(*std::max_element(kept_.begin(), kept_.end()));
    // What is kept is made of something as large that is not, as a convolution's output before its activation is.
    for (const int64_t bytes : kept_) {
      const uint32_t temporary = New(bytes);
      activations_.emplace_back(New(bytes), bytes);
      Free(temporary);
    }
    const int64_t logits = Times(demand_.logits, change_.batch * change_.logits);
    constexpr int kCopies = 3;
    for (int i = 0; logits > 0 && i < kCopies; ++i) logits_made_.push_back(New(logits / kCopies));
  }

  // From the last activation to the first: the gradient of each lies beside that of the one after it. Gradients of
  // parameters come as the pass reaches them; the second pass adds its own to those that are there.
  void Backward() {
    const std::vector<int64_t> gradients = Trained(Times(states_.gradients, change_.weights * change_.gradients));
    for (const uint32_t block : std::exchange(logits_made_, {})) Free(block);
    uint32_t incoming = 0;
    size_t next = 0;
    int64_t skip = gradients_made_;
    const size_t count = activations_.size();
    for (size_t i = 0; i < count; ++i) {
      const auto [block, bytes] = activations_[count - 1 - i];
      const uint32_t outgoing = New(bytes);
      if (incoming != 0) Free(incoming);
      incoming = outgoing;
      Free(block);
      const size_t until = (i + 1) * gradients.size() / count;
      for (; next < until; ++next) Gradient(gradients[next], skip);
    }
    for (; next < gradients.size(); ++next) Gradient(gradients[next], skip);
    if (incoming != 0) Free(incoming);
    if (scratch_ != 0) Free(std::exchange(scratch_, 0));
    activations_.clear();
    gradients_made_ = states_.gradients;
  }

  void Gradient(int64_t bytes, int64_t& skip) {
    const uint32_t block = New(bytes);
    if (skip > 0) {
      skip -= bytes;
      Free(block);
    }
  }

  void Step() {
    const auto optimizer = Times(states_.optimizer, change_.weights * change_.optimizer);
    const int64_t missing = optimizer - state_made_;
    // Two pieces for each parameter, as Adam's.
    for (int piece = 0; missing > 0 && piece < 2; ++piece) {
      for (const int64_t bytes : Trained(missing / 2)) New(bytes);
    }
    state_made_ = std::max(state_made_, optimizer);
    if (!change_.step_temporaries) return;
    std::vector<uint32_t> temporaries;
    for (const int64_t bytes : Trained(Times(states_.step_temporaries, change_.weights)))
      temporaries.push_back(New(bytes));
    for (const uint32_t block : temporaries) Free(block);
  }

  void Whole() {
    Forward();
    Backward();
  }

  const Facts& facts_;
  const Timeline& t_;
  const BatchCarriers& carriers_;
  const States& states_;
  const Demand& demand_;
  const OutlineChange& change_;
  const Logits logits_;
  const Models models_;
  std::vector<StreamOp> stream_;
  std::vector<int64_t> kept_;  // of a whole forward, as changed
  std::vector<std::pair<uint32_t, int64_t>> activations_;
  std::vector<uint32_t> logits_made_;
  uint32_t scratch_ = 0;
  int64_t passing_ = 0;  // largest tensor of a forward whose graph is not kept
  int64_t gradients_made_ = 0;
  int64_t state_made_ = 0;
  uint32_t next_block_ = kFirstNewBlock;
};

}  // namespace

std::vector<StreamOp> OutlineStream(const Facts& facts, const BatchCarriers& carriers, const States& states,
                                    const Demand& demand, const OutlineChange& change) {
  return Outline(facts, carriers, states, demand, change).Build();
}

}  // namespace oomtrace
