#include "analyzer/advise/predict.h"

#include <algorithm>
#include <cmath>

namespace oomtrace {
namespace {

// Cache that PyTorch's allocator held beyond its tensors when a GPT-2 micro-batch of 8 died on a card of 11.69 GiB:
// 2.41 GiB beside 7.0 GiB, a third. Where no stream can be run, an estimate has to leave as much.
constexpr double kCacheShare = 0.34;
// With expandable segments only partly used pages of 20 MiB are lost.
constexpr double kExpandableCacheShare = 0.05;
// What a rescaled stream cannot know of order and size: the stream has to run in this share less, too.
constexpr double kReplayMargin = 0.01;
// What the outline of an iteration that nobody has seen may miss in order and size: a share of what a forward keeps,
// and of the allocator's segments for blocks of 1 to 10 MiB one, which decides on small cards. Of a forward and a
// backward on record only the order is in doubt. Where it died in the forward, the layers still to come were taken for
// like those seen; really run, such jobs needed up to 1.5 times as much (docs/accuracy.md).
constexpr double kKeptMargin = 0.12, kHalfForwardMargin = 0.7;
constexpr double kOrderMargin = 0.02;
constexpr int64_t kOutlineSegment = int64_t{20} << 20;
constexpr uint32_t kRefused = UINT32_MAX;  // no tensor's index

// What the allocator was asked for until the death, and at last what did not fit.
std::vector<StreamOp> UpToDeath(const Facts& facts) {
  std::vector<StreamOp> stream;
  for (const TimedOp& op : RecordedStream(*facts.timeline)) {
    if (op.time > facts.moment) break;
    stream.push_back(ToStream(*facts.timeline, op));
  }
  stream.push_back({kRefused, facts.refused});
  return stream;
}

}  // namespace

Predictor::Predictor(const Diagnosis& diagnosis)
    : d_(diagnosis),
      batch_(InferBatch(*diagnosis.facts.timeline, diagnosis.facts.moment)),
      carriers_(*diagnosis.facts.timeline, batch_),
      states_(CompleteStates(diagnosis.facts)),
      recorded_(RecordedConfig(*diagnosis.facts.timeline)) {
  const std::vector<FreeList>& lists = d_.facts.timeline->free_lists;
  const bool pools_known = std::any_of(lists.begin(), lists.end(), [](const FreeList& list) { return list.pool != 0; });
  modelled_idle_ = pools_known ? d_.facts.private_idle : 0;
  modelled_ = UsesCachingAllocator(*d_.facts.timeline);
  capacity_ = d_.facts.available() - d_.facts.private_idle;
  const bool training_death = d_.pattern.name != "eval_spike";
  if (modelled_ && d_.facts.oom && HasWholeIteration(d_.facts) && training_death &&
      d_.pattern.name != "batch_outlier") {
    const Prediction again = Replayed(std::max<int64_t>(batch_.size, 1), expandable_recorded(), capacity_);
    replayable_ = !again.fits;
    tensors_known_ = again.allocated >= d_.facts.need();
  }
  if (d_.facts.oom) demand_ = EstimateTraining(d_.facts, batch_, carriers_, states_);
}

const EvaluationGraphs& Predictor::evaluation_graphs() const {
  if (!evaluation_graphs_) evaluation_graphs_ = FindEvaluationGraphs(d_.facts);
  return *evaluation_graphs_;
}

Prediction Predictor::Of(int64_t tensors, bool expandable) const {
  Prediction p;
  p.reserved = static_cast<int64_t>(static_cast<double>(tensors) * (1 + (!modelled_   ? 0
                                                                         : expandable ? kExpandableCacheShare
                                                                                      : kCacheShare)));
  p.headroom = capacity_ - p.reserved;
  p.fits = p.headroom >= 0;
  return p;
}

Prediction Predictor::Replayed(int64_t micro_batch, bool expandable, int64_t capacity) const {
  const auto key = std::make_tuple(micro_batch, expandable, capacity);
  if (const auto known = replayed_.find(key); known != replayed_.end()) return known->second;
  AllocatorConfig config = recorded_;
  config.expandable_segments = expandable;
  const std::vector<StreamOp> stream =
      NextIterationStream(d_.facts, carriers_, {micro_batch, std::max<int64_t>(batch_.size, 1)});
  Prediction p;
  p.basis = "replayed";
  capacity += modelled_idle_;
  config.capacity = capacity;
  const ReplayResult result = RunStream(stream, config, d_.facts.timeline->free_lists);
  p.reserved = result.peak_reserved;
  p.allocated = result.peak_allocated;
  p.headroom = capacity - p.reserved;
  p.fits = result.fits;
  if (p.fits) {
    config.capacity = static_cast<int64_t>(static_cast<double>(capacity) * (1 - kReplayMargin));
    p.fits = RunStream(stream, config, d_.facts.timeline->free_lists).fits;
    if (!p.fits) p.headroom = std::min(p.headroom, config.capacity - capacity);
  } else {
    p.headroom = std::min(p.headroom, -result.refused);
  }
  replayed_[key] = p;
  return p;
}

Prediction Predictor::Training(int64_t micro_batch, bool expandable) const {
  if (replayable_ || (expandable && tensors_known_)) return Replayed(micro_batch, expandable, capacity_);
  return Outlined({.batch = Ratio(micro_batch)}, expandable, capacity_);
}

double Predictor::Ratio(int64_t micro_batch) const {
  return batch_.size > 0 ? static_cast<double>(micro_batch) / static_cast<double>(batch_.size) : 1.0;
}

Prediction Predictor::Changed(const OutlineChange& change) const {
  return Outlined(change, expandable_recorded(), capacity_);
}

Prediction Predictor::Outlined(const OutlineChange& change, bool expandable, int64_t capacity) const {
  if (!d_.facts.oom) return Of(d_.facts.peak, expandable);
  const bool plain = change.LeavesRecord();
  const auto key = std::make_tuple(std::llround(change.batch * static_cast<double>(batch_.size)), expandable, capacity);
  if (const auto known = outlined_.find(key); plain && known != outlined_.end()) return known->second;
  const std::vector<StreamOp> stream = OutlineStream(d_.facts, carriers_, states_, demand_, change);
  AllocatorConfig config = recorded_;
  config.expandable_segments = expandable;
  Prediction p;
  const bool seen = d_.facts.oom->phase == PhaseKind::kOptimizerStep;
  const double margin = d_.facts.oom->phase == PhaseKind::kForward ? kHalfForwardMargin : kKeptMargin;
  const double doubted = margin * static_cast<double>(demand_.kept + demand_.logits);
  // Without the graph in work what is left of the forward in doubt is the models to come.
  const double doubted_apart = kKeptMargin * static_cast<double>(demand_.kept + demand_.logits - demand_.untrained) +
                               (margin - kKeptMargin) * static_cast<double>(demand_.to_come_of_models());
  const int64_t doubt =
      seen || demand_.kept + demand_.logits == 0
          ? 0
          : kOutlineSegment +
                static_cast<int64_t>(change.batch * change.kept * (change.untrained_graphs ? doubted : doubted_apart));
  const auto with_margin = [&](int64_t bytes) {
    return static_cast<int64_t>(static_cast<double>(bytes) * (1 + kOrderMargin)) + doubt;
  };
  const int64_t room = std::max<int64_t>(0, capacity + modelled_idle_ - doubt);
  config.capacity = static_cast<int64_t>(static_cast<double>(room) / (1 + kOrderMargin));
  ReplayResult result = RunStream(stream, config, d_.facts.timeline->free_lists);
  p.fits = result.fits;
  const int64_t refused = result.refused;
  if (!p.fits) {
    config.capacity = kUnlimited;
    result = RunStream(stream, config, d_.facts.timeline->free_lists);
  }
  p.reserved = with_margin(modelled_ ? result.peak_reserved : result.peak_allocated);
  p.allocated = with_margin(result.peak_allocated);
  p.headroom = capacity + modelled_idle_ - p.reserved;
  // Another allocator's gaps are not known: none are counted.
  if (!modelled_) p.fits = p.headroom >= 0;
  if (!p.fits) p.headroom = std::min(p.headroom, -refused);
  if (p.headroom < 0) p.fits = false;
  if (plain) outlined_[key] = p;
  return p;
}

Prediction Predictor::Without(const std::function<bool(const Tensor&)>& left_out, bool refused_too) const {
  const Timeline& t = *d_.facts.timeline;
  const auto run = [&](bool whole) {
    std::vector<StreamOp> stream = UpToDeath(d_.facts);
    if (!whole && refused_too) stream.pop_back();
    if (!whole) {
      std::erase_if(stream, [&](const StreamOp& op) { return op.block != kRefused && left_out(t.tensors[op.block]); });
    }
    AllocatorConfig config = recorded_;
    config.capacity = capacity_ + modelled_idle_;
    return RunStream(stream, config, t.free_lists);
  };
  Prediction p;
  if (modelled_ && !run(/*whole=*/true).fits) {
    const ReplayResult result = run(/*whole=*/false);
    p.basis = "replayed";
    p.reserved = result.peak_reserved;
    p.allocated = result.peak_allocated;
    p.fits = result.fits;
    const int64_t left = capacity_ + modelled_idle_ - p.reserved;
    p.headroom = result.fits ? left : std::min(left, -result.refused);
    return p;
  }
  // The model does not show what killed it: then no piece of the cache is counted on.
  p.reserved = d_.facts.device.tensors() + d_.facts.unallocated() + (refused_too ? 0 : d_.facts.requested);
  for (const uint32_t i : d_.facts.live) {
    if (left_out(t.tensors[i])) p.reserved -= t.tensors[i].bytes;
  }
  p.headroom = capacity_ - p.reserved;
  p.fits = p.headroom >= 0;
  return p;
}

Prediction Predictor::WithLives(const std::vector<OtherLife>& lives) const {
  const AlteredReplay replay(*d_.facts.timeline, 0, d_.facts.oom->time, d_.facts.oom->time, d_.facts.refused);
  AllocatorConfig config = recorded_;
  config.capacity = capacity_ + modelled_idle_;
  Prediction p;
  p.basis = "replayed";
  const ReplayResult as_it_was = replay.Reserved({}, config);
  const ReplayResult result = replay.Reserved(lives, config);
  // Where the model does not die, what it lacks at the death is at least what it has left there; as much again may be.
  const int64_t lacks = as_it_was.fits ? 2 * (config.capacity - as_it_was.peak_reserved) : 0;
  p.reserved = result.peak_reserved + lacks;
  p.allocated = result.peak_allocated;
  p.headroom = config.capacity - p.reserved;
  p.fits = result.fits && p.headroom >= 0;
  if (!p.fits) p.headroom = std::min(p.headroom, -result.refused);
  return p;
}

Prediction Predictor::MovedModel(int64_t whole, double share) const {
  std::vector<int64_t> sizes;
  for (const uint32_t i : d_.facts.live) {
    const Tensor& tensor = d_.facts.timeline->tensors[i];
    if (tensor.category == Category::kParameter) sizes.push_back(tensor.bytes);
  }
  sizes.push_back(d_.facts.refused);
  std::vector<StreamOp> stream;
  int64_t made = 0;
  for (size_t i = 0; made < whole; ++i) {
    const int64_t bytes = std::min(sizes[i % sizes.size()], whole - made);
    made += bytes;
    const auto shrunk = static_cast<int64_t>(share * static_cast<double>(bytes));
    stream.push_back({.block = static_cast<uint32_t>(i), .bytes = std::max<int64_t>(1, shrunk)});
  }
  AllocatorConfig config = recorded_;
  config.capacity = kUnlimited;
  const ReplayResult result = RunStream(stream, config, d_.facts.timeline->free_lists);
  Prediction p;
  p.reserved = modelled_ ? result.peak_reserved : result.peak_allocated;
  p.allocated = result.peak_allocated;
  p.headroom = capacity_ + modelled_idle_ - p.reserved;
  p.fits = p.headroom >= 0;
  return p;
}

Prediction Predictor::UpToDeathExpandable() const {
  const Timeline& t = *d_.facts.timeline;
  const std::vector<StreamOp> stream = UpToDeath(d_.facts);
  AllocatorConfig config = recorded_;
  config.capacity = capacity_ + modelled_idle_;
  const bool dies = !RunStream(stream, config, t.free_lists).fits;
  config.expandable_segments = true;
  const ReplayResult result = RunStream(stream, config, t.free_lists);
  Prediction p;
  p.basis = "replayed";
  p.reserved = result.peak_reserved;
  p.allocated = result.peak_allocated;
  p.fits = dies && result.fits;
  p.headroom = config.capacity - p.reserved;
  return p;
}

Prediction Predictor::WithOnePrivatePool() const {
  const Timeline& t = *d_.facts.timeline;
  std::map<int64_t, uint32_t> merged;  // stream -> its list of the one pool
  std::vector<uint32_t> one_pool(t.free_lists.size()), as_it_was(t.free_lists.size());
  for (uint32_t i = 0; i < t.free_lists.size(); ++i) {
    as_it_was[i] = i;
    one_pool[i] = t.free_lists[i].pool == 0 ? i : merged.try_emplace(t.free_lists[i].stream, i).first->second;
  }
  if (merged.empty()) return Prediction();
  // A capture that has only begun has a pool of which nothing is on record.
  std::vector<FreeList> lists = t.free_lists;
  const auto fresh = static_cast<uint32_t>(lists.size());
  lists.push_back({lists[merged.begin()->second].stream, ~0u});
  const auto run = [&](const std::vector<uint32_t>& list_of, uint32_t refused_in) {
    std::vector<StreamOp> stream = UpToDeath(d_.facts);
    for (StreamOp& op : stream) op.list = op.block == kRefused ? refused_in : list_of[op.list];
    AllocatorConfig config = recorded_;
    config.capacity = d_.facts.available();
    return RunStream(stream, config, lists);
  };
  Prediction p;
  p.basis = "replayed";
  // Which pool was asked for what did not fit is not on record: it has to be served by any of them.
  const ReplayResult outside = run(one_pool, 0);
  const ReplayResult inside = run(one_pool, merged.begin()->second);
  const ReplayResult& result = inside.peak_reserved > outside.peak_reserved ? inside : outside;
  p.reserved = result.peak_reserved;
  p.allocated = result.peak_allocated;
  p.fits = inside.fits && outside.fits && (!run(as_it_was, 0).fits || !run(as_it_was, fresh).fits);
  p.headroom = d_.facts.available() - p.reserved;
  if (!p.fits) p.headroom = std::min(p.headroom, -d_.facts.refused);
  return p;
}

Prediction Predictor::TrainingWithin(int64_t capacity) const {
  if (replayable_) return Replayed(std::max<int64_t>(batch_.size, 1), expandable_recorded(), capacity);
  return Outlined({}, expandable_recorded(), capacity);
}

Prediction Predictor::Evaluation(int64_t size) const {
  const Demand demand = EstimateEvaluation(d_.facts, carriers_);
  int64_t states = 0;
  for (const uint32_t i : d_.facts.live) {
    const Tensor& tensor = d_.facts.timeline->tensors[i];
    if (IsParameterState(tensor.category)) states += tensor.bytes;
  }
  const double ratio = batch_.size > 0 ? static_cast<double>(size) / static_cast<double>(batch_.size) : 1.0;
  // Where no batch of it was whole, layers are still to come, as in a forward that died.
  const double unseen = evaluation_graphs().batches == 0 ? kHalfForwardMargin : 0;
  const int64_t tensors =
      states + demand.fixed + std::llround((1 + unseen) * ratio * static_cast<double>(demand.carrying));
  Prediction p = Of(tensors, expandable_recorded());
  return p;
}

}  // namespace oomtrace
