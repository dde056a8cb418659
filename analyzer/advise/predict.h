// Predicted memory of a changed run, by the best means that the trace allows.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "analyzer/advise/evaluation_graphs.h"
#include "analyzer/advise/forward_demand.h"
#include "analyzer/advise/next_iteration.h"
#include "analyzer/advise/outlined_run.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/replay/altered.h"

namespace oomtrace {

struct Prediction {
  int64_t reserved = 0;   // tensors and cache at the peak
  int64_t allocated = 0;  // tensors alone at the peak, 0: not told apart
  bool fits = false;
  int64_t headroom = 0;  // device bytes left at the peak
  const char* basis = "estimated";
};

class Predictor {
 public:
  explicit Predictor(const Diagnosis& diagnosis);

  const Batch& batch() const { return batch_; }
  const BatchCarriers& carriers() const { return carriers_; }
  const States& states() const { return states_; }
  const Demand& demand() const { return demand_; }
  // Of the evaluation that died; only for a run that ran out of memory.
  const EvaluationGraphs& evaluation_graphs() const;
  // Bytes that PyTorch's allocator can have: of the device, and under a limit of its own.
  int64_t capacity() const { return capacity_; }
  bool expandable_recorded() const { return recorded_.expandable_segments; }
  // Whether an earlier iteration speaks for the one that died: it does where a whole one is on record and, run once
  // more through the allocator model with the same batch, settings and card, dies too. Otherwise the iteration that
  // died was another one (a larger batch, something new beside it), and only its own tensors say what it needs.
  bool replayable() const { return replayable_; }

  // Training with micro-batches of `micro_batch` samples.
  Prediction Training(int64_t micro_batch, bool expandable) const;
  // Training as it is, changed in another way than its batch. From the parts that are on record, whatever else is.
  Prediction Changed(const OutlineChange& change) const;
  // The evaluation that died, with batches of `size`.
  Prediction Evaluation(int64_t size) const;
  // A model that died on its way to the card, of `whole` bytes in all, with its parameters and buffers `share` times as
  // large; those that had not arrived are taken for like those that had.
  Prediction MovedModel(int64_t whole, double share) const;
  // A peak of `tensors` bytes in tensors.
  Prediction Of(int64_t tensors, bool expandable) const;
  // The run as it was up to the death, what did not fit included, with expandable segments. Fits only where the
  // allocator's model reproduces the death without them; what the iteration would still have needed is no part of it.
  Prediction UpToDeathExpandable() const;
  // The run as it was up to the death, what did not fit included, without the tensors that `left_out` tells.
  Prediction Without(const std::function<bool(const Tensor&)>& left_out, bool refused_too) const;
  // The run as it was up to the death, what did not fit included, with other lives for some tensors. Where the
  // allocator's model does not reproduce the death, what it lacks there counts twice.
  Prediction WithLives(const std::vector<OtherLife>& lives) const;
  // The run as it was up to the death, what did not fit included, with one private pool instead of several.
  Prediction WithOnePrivatePool() const;
  // Training as it is, where `capacity` bytes can be had.
  Prediction TrainingWithin(int64_t capacity) const;

 private:
  Prediction Replayed(int64_t micro_batch, bool expandable, int64_t capacity) const;
  double Ratio(int64_t micro_batch) const;
  Prediction Outlined(const OutlineChange& change, bool expandable, int64_t capacity) const;

  const Diagnosis& d_;
  Batch batch_;
  BatchCarriers carriers_;
  States states_;
  Demand demand_;
  AllocatorConfig recorded_;
  int64_t capacity_ = 0;
  bool replayable_ = false;
  bool modelled_ = false;      // the run's allocator is the one that the model follows
  int64_t modelled_idle_ = 0;  // what lies idle in private pools, where the model has them: it holds that itself
  // The earlier iteration needed as much in tensors as the one that died: what it needs without gaps in the cache is
  // known, though the model does not show the gaps that killed it.
  bool tensors_known_ = false;
  mutable std::optional<EvaluationGraphs> evaluation_graphs_;
  mutable std::map<std::tuple<int64_t, bool, int64_t>, Prediction> replayed_, outlined_;
};

}  // namespace oomtrace
