#include "analyzer/diagnose/facts.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "analyzer/diagnose/device_pools.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/replay/caching_allocator.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

// Without a list of processes, a context beyond what CUDA and its libraries take may be somebody else's.
constexpr int64_t kLargestContext = int64_t{3} << 29;
// A pool takes memory from the device in pieces of 32 MiB: less than two of them are rounding.
constexpr int64_t kSmallestIdlePool = int64_t{64} << 20;

// The first refusal after which training did not go on is the cause; what fails while the program unwinds is not.
void FindDeath(const Timeline& timeline, Facts& facts) {
  for (const OutOfMemory& oom : timeline.out_of_memory) {
    if (oom.fatal) {
      facts.oom = &oom;
      return;
    }
    ++facts.survived_refusals;
  }
}

void FindPeak(const Timeline& timeline, Facts& facts) {
  for (const Sample& sample : timeline.samples) {
    if (facts.oom && sample.time > facts.oom->time) break;
    facts.peak_reserved = std::max(facts.peak_reserved, sample.reserved);
    facts.peak = std::max(facts.peak, sample.tensors);
  }
  if (facts.peak > 0) facts.peak_time = PeakTime(timeline, facts.oom ? facts.oom->time : kNever);
  if (facts.oom && facts.oom->allocated + facts.refused >= facts.peak) {
    facts.peak = facts.oom->allocated + facts.refused;
    facts.peak_time = facts.oom->time;
  }
  if (facts.oom) facts.peak_reserved = std::max(facts.peak_reserved, facts.oom->reserved);
}

// Plain SGD without momentum is the one common optimizer that keeps nothing.
bool KnownStateless(const Timeline& timeline) {
  return !timeline.optimizers.empty() && std::all_of(timeline.optimizers.begin(), timeline.optimizers.end(),
                                                     [](const Optimizer& o) { return o.type == "SGD"; });
}

void FindSteadiness(const Timeline& timeline, Facts& facts) {
  facts.steps = facts.oom ? StepsEndedBy(timeline, facts.moment) : static_cast<int64_t>(timeline.steps.size());
  facts.steps += timeline.lost_steps;
  const bool stepped =
      std::any_of(timeline.steps.begin(), timeline.steps.end(), [](const Step& step) { return step.optimizer != 0; });
  if (!timeline.steps.empty() && !stepped) facts.step_noun = "backward pass";
  bool had_state_before = false;
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.category != Category::kOptimizerState || tensor.device != timeline.device) continue;
    if (tensor.phase != PhaseKind::kOptimizerStep) {
      had_state_before = true;
    } else if (tensor.bytes > 512 && (facts.state_step < 0 || tensor.step < facts.state_step)) {
      facts.state_step = tensor.step;  // scalar step counters do not count
    }
  }
  if (facts.state_step >= 0) {
    facts.steady = facts.steps >= facts.state_step + 2;
  } else {
    facts.steady = facts.steps >= (had_state_before || KnownStateless(timeline) ? 1 : 2);
  }
}

void FindLive(const Timeline& timeline, Facts& facts) {
  for (uint32_t i = 0; i < timeline.tensors.size(); ++i) {
    const Tensor& tensor = timeline.tensors[i];
    if (tensor.born > facts.moment) break;
    if (tensor.device == timeline.device && tensor.died > facts.moment) facts.live.push_back(i);
  }
}

void FillDevice(const Timeline& timeline, Facts& facts) {
  DeviceUse use = DeviceUseAt(timeline, facts.moment);
  facts.notes = std::move(use.notes);
  report::DeviceTable& device = facts.device;
  device.set_index(timeline.device);
  for (const DeviceInfo& info : timeline.devices) {
    if (info.index == timeline.device) device.set_name(info.name);
  }
  // Where the device was never asked, what this process holds is all that is known of it.
  device.set_total(use.total > 0 ? use.total : use.tensors + use.cache + use.other);
  device.set_tensors(use.tensors);
  device.set_cache(use.cache);
  device.set_other(use.other);
  device.set_context(use.context);
  device.set_other_processes(use.total > 0 ? use.other_processes : 0);
  device.set_free(use.free);
}

// The allocator had been refused nothing by the device if that had this much more than the request needs.
constexpr int64_t kFreeBeyondDoubt = int64_t{64} << 20;

void FindMemoryLimit(Facts& facts) {
  if (!facts.oom) return;
  facts.without_context = facts.oom->device_total == 0 && facts.timeline->memory_readings.empty() &&
                          facts.device.tensors() + facts.device.cache() + facts.device.other() == 0;
  facts.memory_limit = facts.oom->limit;
  facts.memory_limit_known = facts.memory_limit > 0;
  if (facts.oom->by_allocator) {
    facts.refused_by_limit = facts.device.free() >= facts.requested;
    if (facts.refused_by_limit) facts.memory_limit = facts.device.tensors() + facts.device.cache();
    return;
  }
  // PyTorch's words name the limit whichever its backend; guessing needs the allocator that we model.
  if (!facts.memory_limit_known && !facts.oom->from_caching_allocator) return;
  const int64_t reserved = facts.device.tensors() + facts.device.cache();
  facts.refused_by_limit = facts.memory_limit_known ? reserved + facts.requested > facts.memory_limit
                                                    : facts.device.free() > facts.requested + kFreeBeyondDoubt;
  if (facts.refused_by_limit && !facts.memory_limit_known) facts.memory_limit = std::max(reserved, facts.peak_reserved);
}

// Of the context's row, what is none: the rounding of this process's allocations to the driver's pages, and what its
// pools can have kept.
void FindDeviceExtras(const Timeline& timeline, Facts& facts) {
  if (facts.device.total() == 0) return;
  const int64_t measured = MeasuredOverhead(timeline, facts.moment);
  const auto move = [&](int64_t bytes) {
    facts.device.set_other(facts.device.other() + bytes);
    facts.device.set_context(facts.device.context() - bytes);
  };
  if (measured > 0) {
    const int64_t beyond = std::max<int64_t>(0, facts.device.context() - measured);
    facts.page_rounding = std::min(PageRounding(timeline, facts.moment), beyond);
    move(facts.page_rounding);
  }
  const int64_t freed = FreedIntoPools(timeline, facts.moment);
  if (freed < kSmallestIdlePool) return;
  facts.pools_may_hold = measured == 0;
  const int64_t idle = std::min(freed, facts.device.context() - (measured > 0 ? measured : kLargestContext));
  if (idle < kSmallestIdlePool) return;
  facts.idle_pools = idle;
  move(idle);
}

// What is not handed out of the segments that PyTorch's snapshot after the refusal listed.
int64_t IdleInListedSegments(const Timeline& timeline, const Facts& facts) {
  int64_t idle = 0;
  std::set<uint64_t> counted;  // each refusal lists them anew
  for (const PrivateSegment& segment : timeline.private_segments) {
    if (segment.device != timeline.device || segment.born > facts.moment) continue;
    if (counted.insert(segment.address).second) idle += segment.bytes;
  }
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = timeline.tensors[i];
    if (timeline.free_lists[tensor.free_list].pool != 0) idle -= tensor.bytes;
  }
  return std::max<int64_t>(0, idle);
}

// As PyTorch's message counts it, to two decimals; the listed segments say it to the byte, if it is what they say.
void FindPrivateIdle(const Timeline& timeline, Facts& facts) {
  if (!facts.oom) return;
  const int64_t listed = IdleInListedSegments(timeline, facts);
  const int64_t said = facts.oom->in_private_pools;
  const bool agree = said < 0 || 100 * std::abs(listed - said) <= said;
  facts.private_idle = std::clamp<int64_t>(agree ? listed : said, 0, facts.device.cache());
  facts.device.set_private_pools(facts.private_idle);
}

// Blocks that the trace lost are counted by the allocator but have no record: they are the unknown. Records whose free
// was lost are more than the allocator counts: they are taken from the unknown, then from the others.
void Categorize(const Timeline& timeline, Facts& facts) {
  int64_t known = 0;
  for (const uint32_t i : facts.live) {
    facts.category[static_cast<int>(timeline.tensors[i].category)] += timeline.tensors[i].bytes;
    known += timeline.tensors[i].bytes;
  }
  int64_t& unknown = facts.category[static_cast<int>(Category::kUnknown)];
  unknown += std::max<int64_t>(0, facts.device.tensors() - known);
  int64_t surplus = std::max<int64_t>(0, known - facts.device.tensors());
  for (int i = kCategories - 1; i >= 0 && surplus > 0; --i) {
    const int64_t taken = std::min(surplus, facts.category[i]);
    facts.category[i] -= taken;
    surplus -= taken;
  }
}

// Bytes of unknown tensors that a Python name is known to keep, or that keeps some of those that the same statement
// made alike: what they are for is not known, whose they are is.
int64_t UnknownButHeld(const Facts& facts) {
  const std::vector<Tensor>& tensors = facts.timeline->tensors;
  std::set<std::pair<uint32_t, uint32_t>> held;  // stack and layout
  for (const uint32_t i : facts.live) {
    if (!tensors[i].holder.empty()) held.emplace(tensors[i].stack, tensors[i].layout);
  }
  int64_t bytes = 0;
  for (const uint32_t i : facts.live) {
    const bool unknown = tensors[i].category == Category::kUnknown;
    if (unknown && held.contains({tensors[i].stack, tensors[i].layout})) bytes += tensors[i].bytes;
  }
  return bytes;
}

double ExplainedShare(const Facts& facts) {
  const int64_t unknown = facts.category[static_cast<int>(Category::kUnknown)];
  int64_t unexplained = unknown - std::min(unknown, UnknownButHeld(facts));
  if (!facts.processes_listed) unexplained += std::max<int64_t>(0, facts.device.context() - kLargestContext);
  const int64_t used = facts.device.total() - facts.device.free();
  return used > 0 ? 1.0 - static_cast<double>(std::min(unexplained, used)) / static_cast<double>(used) : 1.0;
}

}  // namespace

PhaseKind PhaseAt(const Timeline& timeline, int64_t time) {
  const auto next = std::upper_bound(timeline.phases.begin(), timeline.phases.end(), time,
                                     [](int64_t t, const PhaseMark& mark) { return t < mark.time; });
  return next == timeline.phases.begin() ? PhaseKind::kSetUp : std::prev(next)->phase;
}

int64_t PeakBetween(const Timeline& timeline, int64_t begin, int64_t end) {
  auto it = std::lower_bound(timeline.samples.begin(), timeline.samples.end(), begin,
                             [](const Sample& sample, int64_t t) { return sample.time < t; });
  int64_t peak = 0;
  for (; it != timeline.samples.end() && it->time < end; ++it) peak = std::max(peak, it->tensors);
  return peak;
}

int64_t PeakInPhase(const Timeline& timeline, PhaseKind phase, int64_t begin, int64_t end) {
  int64_t peak = 0;
  for (size_t i = 0; i < timeline.phases.size(); ++i) {
    if (timeline.phases[i].phase != phase) continue;
    const int64_t until = i + 1 < timeline.phases.size() ? timeline.phases[i + 1].time : timeline.end + 1;
    const int64_t from = std::max(begin, timeline.phases[i].time);
    if (from < std::min(end, until)) peak = std::max(peak, PeakBetween(timeline, from, std::min(end, until)));
  }
  return peak;
}

bool TrainingSeen(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  return !t.optimizers.empty() || !t.steps.empty() || !t.backward_passes.empty() ||
         (facts.oom && (facts.oom->backward || facts.oom->phase == PhaseKind::kBackward ||
                        facts.oom->phase == PhaseKind::kOptimizerStep));
}

bool EvaluatesInEachStep(const Facts& facts) {
  constexpr int64_t kFewest = 5, kMost = 40;
  const Timeline& t = *facts.timeline;
  int64_t steps = 0, with = 0;
  for (auto step = t.steps.rbegin(); step != t.steps.rend() && steps < kMost; ++step) {
    if (step->end > facts.moment) continue;
    ++steps;
    with += std::any_of(t.phases.begin(), t.phases.end(), [&](const PhaseMark& mark) {
      return mark.phase == PhaseKind::kEvaluation && mark.time >= step->begin && mark.time < step->end;
    });
  }
  return steps >= kFewest && 10 * with >= 9 * steps;
}

int64_t BeginOfEvaluation(const Timeline& timeline, int64_t time) {
  int64_t begin = 0;
  bool evaluating = false;
  for (const PhaseMark& mark : timeline.phases) {
    if (mark.time > time) break;
    if (mark.phase == PhaseKind::kEvaluation && !evaluating) begin = mark.time;
    evaluating = !IsTraining(mark.phase) && (evaluating || mark.phase == PhaseKind::kEvaluation);
  }
  return begin;
}

bool EvaluatesWithGradients(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  const auto in_module = [&](uint32_t stack) { return stack < t.stacks.size() && t.stacks[stack].module != 0; };
  if (facts.oom->grad_mode && in_module(facts.oom->stack)) return true;
  const int64_t begin = BeginOfEvaluation(t, facts.moment);
  bool modules = false;
  for (auto tensor = t.tensors.rbegin(); tensor != t.tensors.rend() && tensor->born >= begin; ++tensor) {
    if (!in_module(tensor->stack)) continue;
    if (tensor->grad_mode) return true;
    modules = true;
  }
  return !modules && facts.oom->grad_mode;
}

bool IsTraining(PhaseKind phase) {
  return phase == PhaseKind::kForward || phase == PhaseKind::kBackward || phase == PhaseKind::kOptimizerStep;
}

Facts GatherFacts(const Timeline& timeline) {
  Facts facts;
  facts.timeline = &timeline;
  FindDeath(timeline, facts);
  if (facts.oom) {
    const int64_t shaped = timeline.layouts.empty() ? 0 : timeline.layouts[facts.oom->layout].bytes;
    facts.refused = shaped > 0 ? shaped : facts.oom->requested;
    facts.requested = facts.oom->from_caching_allocator ? SegmentSize(facts.oom->requested) : facts.oom->requested;
    if (facts.requested == 0) facts.requested = facts.refused;  // PyTorch refused before it asked
  }
  FindPeak(timeline, facts);
  if (timeline.tensors.empty()) {
    const DevicePeak peak = FindDevicePeak(timeline);
    facts.peak = peak.bytes;
    facts.peak_time = peak.time;
  }
  facts.moment = facts.oom ? facts.oom->time : facts.peak_time;
  FindLive(timeline, facts);
  FindSteadiness(timeline, facts);
  facts.processes_listed = !timeline.gpu_processes.empty();
  FillDevice(timeline, facts);
  FindMemoryLimit(facts);
  FindPrivateIdle(timeline, facts);
  if (WithoutTorch(timeline)) FindDeviceExtras(timeline, facts);
  Categorize(timeline, facts);
  facts.device.set_explained_share(ExplainedShare(facts));
  return facts;
}

}  // namespace oomtrace
