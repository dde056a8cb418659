// Builds the timeline of a made-up training run for tests: parameters, optimizer state born in the first step,
// activations that scale with the batch, gradients, and whatever the test adds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

class TrainingRun {
 public:
  struct Sizes {
    int64_t total = int64_t{12} << 30;
    int64_t other_processes = 0;
    int64_t context = int64_t{256} << 20;
    int64_t parameters = int64_t{400} << 20;
    int64_t batch = 16;
    int64_t activations_per_sample = int64_t{100} << 20;
    int layers = 4;
    int64_t micro_batches = 1;
  };

  TrainingRun();
  explicit TrainingRun(const Sizes& sizes);

  // One forward, backward and optimizer step; `extra` runs within the forward.
  void Iteration(const std::function<void()>& extra = nullptr, int64_t batch = 0);
  void Forward(int64_t batch, double share = 1.0);
  void Backward();
  void OptimizerStep();
  // An evaluation of `batch` samples; ends with everything freed unless `die` stops it before.
  void Evaluation(int64_t batch, bool free_at_end = true);
  void SetUpModel();

  uint32_t Allocate(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes, Category category,
                    bool grad_mode = false);
  // A tensor that stays.
  uint32_t Keep(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes,
                bool grad_mode = false);
  void Free(uint32_t tensor);
  void EnterPhase(PhaseKind phase);
  // The refusal that ended it.
  void Die(const std::string& file, int64_t line, std::vector<int64_t> shape, int64_t bytes);
  void SetReserved(int64_t reserved) { reserved_ = reserved; }
  void SetOther(int64_t bytes) { sizes_.other_processes = bytes; }

  int64_t now() const { return now_; }
  int64_t live() const { return live_; }
  const Timeline& timeline();
  Timeline& raw() { return timeline_; }

 private:
  uint32_t StackAt(const std::string& file, int64_t line);
  uint32_t LayoutOf(const std::vector<int64_t>& shape, int64_t bytes);
  void Record();

  Sizes sizes_;
  Timeline timeline_;
  int64_t now_ = 0;
  int64_t live_ = 0;
  int64_t reserved_ = 0;
  int64_t step_ = 0;
  int64_t micro_batch_ = 0;
  int64_t step_begin_ = 0;
  PhaseKind phase_ = PhaseKind::kSetUp;
  std::vector<uint32_t> activations_;
  std::vector<uint32_t> gradients_;
  bool state_born_ = false;
};

}  // namespace oomtrace
