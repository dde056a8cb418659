#include "analyzer/advise/next_iteration.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace oomtrace {
namespace {

// Whether an optimizer is known that had not stepped by `end`, as the generator's has not when the critic's ends its
// first step. One speaks of what it trains when it steps first, or at the death.
bool AnOptimizerIsToCome(const Timeline& t, int64_t end) {
  std::unordered_map<uint64_t, int64_t> first_word;
  for (const Role& role : t.roles) first_word.try_emplace(role.owner, role.time);
  return std::any_of(t.optimizers.begin(), t.optimizers.end(), [&](const Optimizer& optimizer) {
    const auto spoke = first_word.find(optimizer.identity);
    return spoke != first_word.end() && spoke->second > end;
  });
}

const Step* LastWholeStep(const Facts& facts) {
  const Step* last = nullptr;
  for (const Step& step : facts.timeline->steps) {
    if (step.end <= facts.moment && step.micro_batches > 0) last = &step;
  }
  return last != nullptr && AnOptimizerIsToCome(*facts.timeline, last->end) ? nullptr : last;
}

class Builder {
 public:
  Builder(const Facts& facts, const BatchCarriers& carriers, Scale scale)
      : t_(*facts.timeline), moment_(facts.moment), carriers_(carriers), scale_(scale), step_(*LastWholeStep(facts)) {
    begin_ = std::max(step_.begin, t_.first_training_forward == kNever ? 0 : t_.first_training_forward);
  }

  std::vector<StreamOp> Build() {
    const std::vector<TimedOp> recorded = RecordedStream(t_);
    std::vector<TimedOp> window;
    std::vector<TimedOp> after;
    for (const TimedOp& op : recorded) {
      if (op.time <= step_.end) Emit(op.tensor, op.free, op.tensor);
      if (op.time >= begin_ && op.time <= step_.end) window.push_back(op);
      if (op.time > step_.end && op.time <= moment_ && op.free && t_.tensors[op.tensor].born <= step_.end)
        after.push_back(op);
    }
    const bool shrunk = scale_.numerator < scale_.denominator;
    if (shrunk && step_.micro_batches == 1)
      Repeat(window, after, /*until=*/step_.optimizer_begin, /*accumulating=*/false);
    Repeat(window, after, step_.end, shrunk && step_.micro_batches == 1);
    return std::move(stream_);
  }

 private:
  int64_t Size(const Tensor& tensor) const {
    if (!carriers_.Carries(tensor)) return tensor.bytes;
    return std::max<int64_t>(1, tensor.bytes / scale_.denominator * scale_.numerator);
  }

  void Emit(uint32_t tensor, bool free, uint32_t block) {
    StreamOp op = ToStream(t_, {0, tensor, free});
    op.block = block;
    if (!free) op.bytes = Size(t_.tensors[tensor]);
    stream_.push_back(op);
  }

  // Made once and kept: not made again in the next iteration.
  bool MadeOnce(const Tensor& tensor) const {
    if (tensor.category == Category::kParameter || tensor.category == Category::kSecondCopy ||
        tensor.category == Category::kOptimizerState) {
      return true;
    }
    // Lazily made buffers and workspaces; what the program lets go of at its next iteration is made again.
    return tensor.died > moment_ && tensor.category == Category::kWorkspace;
  }

  // Once more what the window did. Survivors of the step die where they died after it, counted in requests.
  void Repeat(const std::vector<TimedOp>& window, const std::vector<TimedOp>& after, int64_t until, bool accumulating) {
    std::unordered_map<uint32_t, uint32_t> copies;
    if (!accumulating) {
      for (const TimedOp& op : after) {
        if (freed_.insert(op.tensor).second) Emit(op.tensor, true, op.tensor);
      }
    }
    for (const TimedOp& op : window) {
      if (op.time > until) break;
      const Tensor& tensor = t_.tensors[op.tensor];
      if (op.free) {
        if (const auto copy = copies.find(op.tensor); copy != copies.end()) {
          Emit(op.tensor, true, copy->second);
          copies.erase(copy);
        }
        continue;
      }
      if (MadeOnce(tensor)) continue;
      const uint32_t block = next_block_++;
      Emit(op.tensor, false, block);
      // The second backward of a step adds to the gradients that are there and gives its own back.
      if (accumulating && tensor.category == Category::kGradient) {
        Emit(op.tensor, true, block);
      } else {
        copies[op.tensor] = block;
      }
    }
    // What outlives the window: gradients stay for the next micro-batch, everything else is let go.
    for (const auto& [tensor, block] : copies) {
      if (t_.tensors[tensor].category != Category::kGradient) Emit(tensor, true, block);
    }
  }

  const Timeline& t_;
  int64_t moment_;
  const BatchCarriers& carriers_;
  Scale scale_;
  const Step& step_;
  int64_t begin_ = 0;
  std::vector<StreamOp> stream_;
  std::unordered_set<uint32_t> freed_;
  uint32_t next_block_ = 1u << 31;
};

}  // namespace

bool HasWholeIteration(const Facts& facts) { return LastWholeStep(facts) != nullptr; }

std::vector<StreamOp> NextIterationStream(const Facts& facts, const BatchCarriers& carriers, Scale scale) {
  if (!HasWholeIteration(facts)) return {};
  return Builder(facts, carriers, scale).Build();
}

}  // namespace oomtrace
