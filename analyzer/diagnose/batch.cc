#include "analyzer/diagnose/batch.h"

#include <algorithm>
#include <map>

namespace oomtrace {
namespace {

// The inputs of one batch arrive together: as many other tensors between two of them, and a model ran in between.
constexpr int kBetweenBatches = 8;

bool IsTransient(const Tensor& tensor) {
  return tensor.category == Category::kActivation || tensor.category == Category::kTemporary ||
         tensor.category == Category::kInput || tensor.category == Category::kUnknown;
}

const std::vector<int64_t>& ShapeOf(const Timeline& timeline, const Tensor& tensor) {
  return timeline.layouts[tensor.layout].shape;
}

// A batch made on the device by a program that dies in its first layer: no module has read it yet, and only the shape
// of what that layer asked for says what it is.
class UnreadBatch {
 public:
  UnreadBatch(const Timeline& timeline, int64_t moment) : timeline_(timeline), moment_(moment) {
    for (const OutOfMemory& refusal : timeline.out_of_memory) {
      if (refusal.time != moment || refusal.layout == 0) continue;
      const std::vector<int64_t>& shape = timeline.layouts[refusal.layout].shape;
      const bool in_model = refusal.phase == PhaseKind::kForward || refusal.phase == PhaseKind::kEvaluation;
      if (in_model && shape.size() > 1) leading_ = shape[0];
    }
  }
  bool Is(const Tensor& tensor) const {
    if (leading_ <= 1 || tensor.category != Category::kUnknown || tensor.died <= moment_) return false;
    const std::vector<int64_t>& shape = ShapeOf(timeline_, tensor);
    return shape.size() > 1 && shape[0] == leading_;
  }

 private:
  const Timeline& timeline_;
  int64_t moment_;
  int64_t leading_ = 0;
};

Batch FromInputs(const Timeline& timeline, int64_t moment) {
  std::map<int64_t, int64_t> votes;
  Batch batch;
  int64_t largest = 0;
  int others = 0;
  const UnreadBatch unread(timeline, moment);
  const Tensor* newest = nullptr;
  for (auto it = timeline.tensors.rbegin(); it != timeline.tensors.rend(); ++it) {
    const Tensor& tensor = *it;
    if (tensor.born > moment || tensor.device != timeline.device || tensor.layout == 0) continue;
    const bool input = tensor.category == Category::kInput ||
                       (tensor.host_copied && tensor.category == Category::kUnknown) || unread.Is(tensor);
    const std::vector<int64_t>& shape = ShapeOf(timeline, tensor);
    if (!input || shape.empty() || (shape.size() == 1 && shape[0] == 1)) {
      if (!batch.input.empty() && ++others > kBetweenBatches) break;
      continue;
    }
    // A small model makes few tensors between two batches: the turn of the loop tells them apart, too.
    if (newest == nullptr) newest = &tensor;
    if (tensor.step != newest->step || tensor.micro_batch != newest->micro_batch) break;
    others = 0;
    // A matrix of inputs says more about the batch than a vector, whose length may be anything.
    votes[shape[0]] += shape.size() > 1 ? 3 : 1;
    if (tensor.bytes > largest) {
      largest = tensor.bytes;
      batch.input = shape;
    }
  }
  int64_t best = 0;
  for (const auto& [size, weight] : votes) {
    if (weight >= best) {
      best = weight;
      batch.size = size;
    }
  }
  batch.from_inputs = batch.size > 0;
  return batch;
}

Batch FromActivations(const Timeline& timeline, int64_t moment) {
  std::map<int64_t, int64_t> bytes_by_leading;
  std::set<std::vector<int64_t>> parameters;
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.category == Category::kParameter) parameters.insert(ShapeOf(timeline, tensor));
  }
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.born > moment) break;
    if (tensor.died <= moment || tensor.device != timeline.device || !IsTransient(tensor)) continue;
    const std::vector<int64_t>& shape = ShapeOf(timeline, tensor);
    if (shape.size() > 1 && !parameters.contains(shape)) bytes_by_leading[shape[0]] += tensor.bytes;
  }
  int64_t most = 0;
  std::map<int64_t, int64_t> explained;
  for (const auto& [candidate, own] : bytes_by_leading) {
    if (candidate < 1) continue;
    for (const auto& [leading, bytes] : bytes_by_leading) {
      if (leading % candidate == 0) explained[candidate] += bytes;
    }
    most = std::max(most, explained[candidate]);
  }
  Batch batch;
  for (const auto& [candidate, bytes] : explained) {
    if (bytes * 10 >= most * 9) batch.size = candidate;  // the largest that explains nearly everything
  }
  return batch;
}

}  // namespace

Batch InferBatch(const Timeline& timeline, int64_t moment) {
  const Batch batch = FromInputs(timeline, moment);
  return batch.size > 0 ? batch : FromActivations(timeline, moment);
}

BatchCarriers::BatchCarriers(const Timeline& timeline, const Batch& batch) : timeline_(timeline), size_(batch.size) {
  multiples_.insert(1);
  if (batch.input.size() > 1) {
    multiples_.insert(batch.input[1]);
    if (batch.input[0] == size_) length_ = batch.input[1];
    second_ = batch.input[0] != size_ && batch.input[1] == size_;
  }
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.layout == 0) continue;
    const std::vector<int64_t>& shape = ShapeOf(timeline, tensor);
    if (tensor.category == Category::kParameter) {
      own_shapes_.insert({tensor.module.str(), shape});
      parameter_shapes_.insert(shape);
      parameter_shapes_.insert(std::vector<int64_t>(shape.rbegin(), shape.rend()));
    } else if (IsTransient(tensor) && shape.size() > 2 && shape[0] == size_) {
      multiples_.insert(shape[1]);
      multiples_.insert(shape[1] * shape[2]);
    }
  }
}

bool BatchCarriers::Carries(const std::vector<int64_t>& shape) const {
  return !parameter_shapes_.contains(shape) && Follows(shape);
}

bool BatchCarriers::Follows(const std::vector<int64_t>& shape) const {
  if (size_ <= 0 || shape.empty()) return false;
  if (shape[0] == size_) return true;
  if (shape[0] > size_ && shape[0] % size_ == 0) {
    if (multiples_.contains(shape[0] / size_)) return true;
    // A flat buffer of a compiled graph or a convolution's columns: every dimension multiplied out.
    if (shape.size() == 1 && shape[0] / size_ >= 1024) return true;
  }
  // Attention works on (..., length, batch, ...).
  for (size_t i = 0; length_ > 0 && shape.size() > 2 && i + 1 < shape.size(); ++i) {
    if (shape[i] == length_ && shape[i + 1] == size_) return true;
  }
  return second_ && shape.size() > 1 && shape[1] == size_;
}

bool BatchCarriers::Carries(const Tensor& tensor) const {
  if (!IsTransient(tensor) || tensor.layout == 0) return false;
  const std::vector<int64_t>& shape = ShapeOf(timeline_, tensor);
  if (tensor.phase == PhaseKind::kForward && !tensor.backward && !tensor.module.empty()) {
    return !own_shapes_.contains({tensor.module.str(), shape}) && Follows(shape);
  }
  return Carries(shape);
}

}  // namespace oomtrace
