#include "analyzer/diagnose/testing/training_run.h"

#include <algorithm>

namespace oomtrace {

TrainingRun::TrainingRun() : TrainingRun(Sizes()) {}

TrainingRun::TrainingRun(const Sizes& sizes) : sizes_(sizes) {
  timeline_.stacks.emplace_back();
  timeline_.layouts.emplace_back();
  timeline_.strings.emplace_back();
  timeline_.devices.push_back({0, "Test GPU", sizes.total});
  timeline_.process.torch_version = "2.11.0";
  timeline_.optimizers.push_back({1, "AdamW", "", sizes.parameters, sizes.parameters / 4});
  timeline_.phases.push_back({0, PhaseKind::kSetUp});
  SetUpModel();
}

void TrainingRun::SetUpModel() {
  for (int layer = 0; layer < sizes_.layers; ++layer) {
    const int64_t bytes = sizes_.parameters / sizes_.layers;
    Allocate("train.py", 10, {bytes / 4096, 1024}, bytes, Category::kParameter);
  }
}

uint32_t TrainingRun::StackAt(const std::string& file, int64_t line) {
  for (uint32_t i = 1; i < timeline_.stacks.size(); ++i) {
    const Frame& frame = timeline_.frames[timeline_.stacks[i].frames.front()];
    if (frame.file == file && frame.line == line) return i;
  }
  timeline_.frames.push_back({file, "train", line});
  Stack stack;
  stack.frames.push_back(static_cast<uint32_t>(timeline_.frames.size() - 1));
  timeline_.stacks.push_back(stack);
  return static_cast<uint32_t>(timeline_.stacks.size() - 1);
}

uint32_t TrainingRun::LayoutOf(const std::vector<int64_t>& shape, int64_t bytes) {
  timeline_.layouts.push_back({shape, "float32", bytes});
  return static_cast<uint32_t>(timeline_.layouts.size() - 1);
}

void TrainingRun::Record() {
  reserved_ = std::max(reserved_, live_);
  timeline_.samples.push_back({now_, live_, reserved_});
}

uint32_t TrainingRun::Allocate(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes,
                               Category category, bool grad_mode) {
  Tensor tensor;
  tensor.bytes = bytes;
  tensor.born = ++now_;
  tensor.address = static_cast<uint64_t>(now_) << 30;
  tensor.stack = StackAt(file, line);
  tensor.layout = LayoutOf(shape, bytes);
  tensor.category = category;
  tensor.phase = phase_;
  tensor.step = step_;
  tensor.micro_batch = micro_batch_;
  tensor.grad_mode = grad_mode;
  tensor.backward = phase_ == PhaseKind::kBackward;
  tensor.host_copied = category == Category::kInput;
  timeline_.tensors.push_back(tensor);
  live_ += bytes;
  Record();
  return static_cast<uint32_t>(timeline_.tensors.size() - 1);
}

uint32_t TrainingRun::Keep(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes,
                           bool grad_mode) {
  return Allocate(file, line, std::move(shape), bytes, Category::kActivation, grad_mode);
}

void TrainingRun::Free(uint32_t index) {
  Tensor& tensor = timeline_.tensors[index];
  tensor.died = ++now_;
  tensor.died_step = step_;
  tensor.died_phase = phase_;
  live_ -= tensor.bytes;
  Record();
}

void TrainingRun::EnterPhase(PhaseKind phase) {
  phase_ = phase;
  timeline_.phases.push_back({++now_, phase});
  if (phase == PhaseKind::kForward) timeline_.first_training_forward = std::min(timeline_.first_training_forward, now_);
}

void TrainingRun::Forward(int64_t batch, double share) {
  activations_.push_back(Allocate("train.py", 20, {batch, 1024}, batch * 8192, Category::kInput));
  EnterPhase(PhaseKind::kForward);
  const int done = static_cast<int>(sizes_.layers * share);
  for (int layer = 0; layer < done; ++layer) {
    activations_.push_back(Allocate("model.py", 100 + layer, {batch, 1024, 768},
                                    batch * sizes_.activations_per_sample / sizes_.layers, Category::kActivation,
                                    true));
  }
}

void TrainingRun::Backward() {
  EnterPhase(PhaseKind::kBackward);
  const bool first = gradients_.empty();
  for (int layer = 0; first && layer < sizes_.layers; ++layer) {
    const int64_t bytes = sizes_.parameters / sizes_.layers;
    gradients_.push_back(Allocate("train.py", 22, {bytes / 4096, 1024}, bytes, Category::kGradient));
  }
  for (const uint32_t tensor : activations_) Free(tensor);
  activations_.clear();
  ++micro_batch_;
}

void TrainingRun::OptimizerStep() {
  Step step;
  step.begin = step_begin_;
  step.optimizer = 1;
  EnterPhase(PhaseKind::kOptimizerStep);
  step.optimizer_begin = now_;
  for (int layer = 0; !state_born_ && layer < 2 * sizes_.layers; ++layer) {
    const int64_t bytes = sizes_.parameters / sizes_.layers;
    Allocate("train.py", 23, {bytes / 4096, 1024}, bytes, Category::kOptimizerState);
  }
  state_born_ = true;
  step.end = ++now_;
  step.micro_batches = micro_batch_;
  step.live_at_end = live_;
  for (const Sample& sample : timeline_.samples) {
    if (sample.time >= step.begin) step.peak = std::max(step.peak, sample.tensors);
  }
  timeline_.steps.push_back(step);
  ++step_;
  micro_batch_ = 0;
  step_begin_ = now_;
  EnterPhase(PhaseKind::kBetweenSteps);
  for (const uint32_t tensor : gradients_) Free(tensor);
  gradients_.clear();
}

void TrainingRun::Iteration(const std::function<void()>& extra, int64_t batch) {
  for (int64_t i = 0; i < sizes_.micro_batches; ++i) {
    Forward(batch > 0 ? batch : sizes_.batch);
    if (extra) extra();
    Backward();
  }
  OptimizerStep();
}

void TrainingRun::Evaluation(int64_t batch, bool free_at_end) {
  EnterPhase(PhaseKind::kEvaluation);
  std::vector<uint32_t> held;
  held.push_back(Allocate("train.py", 40, {batch, 1024}, batch * 8192, Category::kInput));
  held.push_back(
      Allocate("model.py", 200, {batch, 1024, 768}, batch * sizes_.activations_per_sample / 2, Category::kTemporary));
  if (!free_at_end) return;
  for (const uint32_t tensor : held) Free(tensor);
  EnterPhase(PhaseKind::kBetweenSteps);
}

void TrainingRun::Die(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes) {
  OutOfMemory oom;
  oom.time = ++now_;
  oom.requested = bytes;
  oom.allocated = live_;
  oom.reserved = std::max(reserved_, live_);
  oom.device_total = sizes_.total;
  oom.device_free = std::max<int64_t>(0, sizes_.total - oom.reserved - sizes_.context - sizes_.other_processes);
  oom.stack = StackAt(file, line);
  oom.layout = LayoutOf(shape, bytes);
  oom.phase = phase_;
  oom.step = step_;
  oom.micro_batch = micro_batch_;
  oom.grad_mode = phase_ == PhaseKind::kForward;
  oom.fatal = true;
  timeline_.out_of_memory.push_back(oom);
}

const Timeline& TrainingRun::timeline() {
  timeline_.end = now_;
  MemoryReading reading;
  reading.time = now_;
  reading.total = sizes_.total;
  reading.free = std::max<int64_t>(0, sizes_.total - reserved_ - sizes_.context - sizes_.other_processes);
  timeline_.memory_readings = {reading};
  timeline_.gpu_processes.clear();
  if (sizes_.other_processes > 0) timeline_.gpu_processes.push_back({77, sizes_.other_processes, false, "python"});
  return timeline_;
}

}  // namespace oomtrace
