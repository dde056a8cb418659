#include "analyzer/advise/forward_demand.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "analyzer/advise/forward_modules.h"
#include "analyzer/diagnose/logits.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr double kCompiledReuse = 1.5;
constexpr double kUnknownProgress = 2.0;
// Without gradients layers give their memory back: the rest of a forward needs little more than its part did.
constexpr double kRestOfEvaluation = 1.25;
// Gradients of activations during backward, beside what the forward keeps.
constexpr double kBackwardShare = 1.15;
// Bytes for each element of the logits at the peak of an eager loss, beside the logits and the copies of them that the
// program makes: the log-softmax, and in backward its gradient and that of the logits, 32-bit whatever the logits are.
// What the loss made already is not counted again. A compiled loss fuses copies away and needs three 16-bit ones.
constexpr int64_t kLogSoftmaxBytes = 4;
constexpr int64_t kLogitsGradientBytes = 8;
constexpr int64_t kFewestLogitsBytes = 12;
constexpr int64_t kCompiledLogitsBytes = 6;
// A recurrent layer keeps for its backward, in one buffer that an evaluation does not make, its gates and its states
// at each position: at most twice the scratch space of one layer's gates, for each layer.
constexpr int64_t kRecurrentReserve = 2;

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

// The tensors made since the forward in work began.
struct Window {
  int64_t begin = 0;
  int64_t end = 0;
  bool whole = false;  // the forward ran to its end
};

// Inputs arrive once a micro-batch: between two arrivals lies one whole forward.
std::vector<int64_t> Arrivals(const Facts& facts, const Batch& batch) {
  const Timeline& t = *facts.timeline;
  std::vector<int64_t> arrivals;
  int64_t made_since = 0;
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > facts.moment) break;
    if (tensor.device != t.device) continue;
    const bool input =
        tensor.category == Category::kInput && tensor.layout != 0 && t.layouts[tensor.layout].shape == batch.input;
    if (!input) {
      ++made_since;
    } else if (arrivals.empty() || made_since > 8) {
      arrivals.push_back(tensor.born);
      made_since = 0;
    }
  }
  return arrivals;
}

Window ForwardInWork(const Facts& facts, const Batch& batch) {
  const Timeline& t = *facts.timeline;
  int64_t phase_begin = 0;
  for (const PhaseMark& mark : t.phases) {
    if (mark.time <= facts.moment && (mark.phase == PhaseKind::kForward || mark.phase == PhaseKind::kEvaluation)) {
      phase_begin = mark.time;
    }
  }
  Window window{phase_begin, facts.moment, false};
  // In training the next batch may be fetched before the backward of this one.
  if (facts.oom->phase != PhaseKind::kEvaluation) return window;
  const std::vector<int64_t> arrivals = Arrivals(facts, batch);
  if (arrivals.size() >= 2 && PhaseAt(t, arrivals.back()) == facts.oom->phase) {
    // An evaluation's earlier iteration of the same shape ran whole.
    window = {arrivals[arrivals.size() - 2], arrivals.back(), true};
    // Targets may arrive only after the forward: where this is its first batch, all that the phase made counts.
    if (PhaseAt(t, window.begin) != facts.oom->phase) window = {phase_begin, facts.moment, false};
  }
  return window;
}

// What the whole forward keeps, given `bytes_of` the part that ran, in bytes that carry the batch: by the longest list
// of like modules (the blocks of a transformer), where the block in work does not count; else by the modules that have
// not run yet. 0: the trace does not tell.
double WholeForward(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const ModelInWork& model,
                    int64_t begin, const std::vector<const Tensor*>& part, int64_t bytes) {
  const Timeline& t = *facts.timeline;
  ModuleList list = LongestList(t, model);
  int64_t index = 0;
  // Blocks of unlike weights make tensors of unlike sizes.
  std::map<int64_t, int64_t> weights;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.category != Category::kParameter || !model.Has(i)) continue;
    if (list.Holds(tensor.name.str(), index)) weights[index] += tensor.bytes;
  }
  const auto [least, most] = std::minmax_element(weights.begin(), weights.end(),
                                                 [](const auto& a, const auto& b) { return a.second < b.second; });
  if (!weights.empty() && most->second > 2 * least->second) list = ModuleList();
  std::map<int64_t, int64_t> by_block;
  for (const Tensor* tensor : part) {
    if (model.Made(*tensor) && list.Holds(tensor->module.str(), index)) by_block[index] += tensor->bytes;
  }
  constexpr size_t kFewestBlocks = 4;  // shorter lists are stages of unlike size, as a ResNet's
  if (!by_block.empty() && list.size >= kFewestBlocks) {
    const auto in_work = std::prev(by_block.end());
    int64_t done = 0, blocks = 0;
    for (auto it = by_block.begin(); it != in_work; ++it, ++blocks) done += it->second;
    const double each = blocks > 0 ? std::max<double>(static_cast<double>(done) / static_cast<double>(blocks), 0)
                                   : static_cast<double>(in_work->second) * kUnknownProgress;
    return static_cast<double>(bytes - done - in_work->second) + each * static_cast<double>(list.size);
  }
  const double rest = RestByLeaves(facts, batch, carriers, model, begin);
  return rest >= 0 ? static_cast<double>(bytes) + rest : 0;
}

// Rows of the widest output layer (a vocabulary), 0: none. A table of embeddings alone is not an output.
int64_t Vocabulary(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  const bool has_head = std::any_of(t.modules.begin(), t.modules.end(), [](const Module& module) {
    if (!absl::StrContains(module.type, "Linear")) return false;
    return absl::StrContains(module.path, "head") || absl::StrContains(module.path, "out") ||
           absl::StrContains(module.path, "decoder") || absl::StrContains(module.path, "logits");
  });
  if (!has_head) return 0;
  int64_t rows = 0;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.category != Category::kParameter) continue;
    const std::vector<int64_t>& shape = t.layouts[tensor.layout].shape;
    if (shape.size() == 2 && shape[0] >= 4096 && shape[0] > shape[1]) rows = std::max(rows, shape[0]);
  }
  return rows;
}

// Bytes that carry the batch, without logits, made by the last whole evaluation of this input shape; 0: there is none.
int64_t MadeInEvaluation(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const Logits& logits) {
  const Timeline& t = *facts.timeline;
  const std::vector<int64_t> arrivals = Arrivals(facts, batch);
  for (size_t i = arrivals.size(); i-- > 1;) {
    const int64_t begin = arrivals[i - 1], end = arrivals[i];
    int64_t made = 0;
    for (const Tensor& tensor : t.tensors) {
      if (tensor.born < begin || tensor.device != t.device || tensor.phase != PhaseKind::kEvaluation) continue;
      if (tensor.born >= end) break;
      if (carriers.Carries(tensor) && !logits.Is(tensor.layout)) made += tensor.bytes;
    }
    if (made > 0) return made;
  }
  return 0;
}

// By how much more a workspace asked for in a recurrent module has to be counted where training was not seen: 1
// outside.
int64_t RecurrentFactor(const Timeline& t, uint32_t stack) {
  if (stack == 0 || stack >= t.stacks.size()) return 1;
  const auto module = std::find_if(t.modules.begin(), t.modules.end(),
                                   [&](const Module& m) { return m.identity == t.stacks[stack].module; });
  if (module == t.modules.end() || (module->type != "LSTM" && module->type != "GRU" && module->type != "RNN")) return 1;
  std::set<std::string> layers;
  for (const Role& role : t.roles) {
    if (absl::StrContains(role.name, "weight_hh_l") && absl::StartsWith(role.name, module->path))
      layers.insert(role.name);
  }
  return 1 + kRecurrentReserve * std::max<int64_t>(1, static_cast<int64_t>(layers.size()));
}

bool UsesCompile(const Facts& facts) {
  if (IsCompiled(*facts.timeline, facts.oom->stack)) return true;
  return std::any_of(facts.live.begin(), facts.live.end(),
                     [&](uint32_t i) { return IsCompiled(*facts.timeline, facts.timeline->tensors[i].stack); });
}

}  // namespace

Demand EstimateTraining(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const States& states) {
  const Timeline& t = *facts.timeline;
  const Logits logits(t);
  const bool compiled = UsesCompile(facts);
  const bool evaluation = facts.oom->phase == PhaseKind::kEvaluation;
  const Window window = ForwardInWork(facts, batch);
  const ModelInWork model = FindModelInWork(facts);
  Demand demand;
  bool logits_seen = logits.Is(facts.oom->layout);
  int64_t logits_elements = logits_seen ? Elements(t.layouts[facts.oom->layout].shape) : 0;
  int64_t live_logits = 0, made_logits = 0, live = 0, made = 0;
  int64_t untrained = 0;  // of `live`, what the graph of a network keeps that no optimizer trains
  int64_t unscaled = 0;   // of the forward in work, what does not carry the batch
  bool loss_seen = logits.InLoss(facts.oom->stack);
  std::vector<const Tensor*> part;  // of the forward in work
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > window.end) break;
    if (tensor.device != t.device || IsParameterState(tensor.category)) continue;
    const bool alive = tensor.born <= facts.moment && tensor.died > facts.moment;
    const bool in_window = tensor.born >= window.begin && tensor.category != Category::kInput;
    const int64_t factor = evaluation && in_window ? RecurrentFactor(t, tensor.stack) : 1;
    if (!carriers.Carries(tensor)) {
      const bool counts = evaluation ? in_window : alive;
      if (counts || alive) demand.fixed += tensor.bytes * (counts ? factor : 1);
      if (in_window && counts && tensor.category != Category::kWorkspace) unscaled += tensor.bytes;
      continue;
    }
    if (in_window) loss_seen = loss_seen || logits.InLoss(tensor.stack);
    if (logits.Is(tensor.layout) && tensor.born >= window.begin) {
      logits_seen = true;
      logits_elements = std::max(logits_elements, Elements(t.layouts[tensor.layout].shape));
      if (alive) live_logits += tensor.bytes;
      made_logits += tensor.bytes;
      continue;
    }
    if (alive) live += tensor.bytes;
    if (alive && tensor.category == Category::kInput) demand.inputs += tensor.bytes;
    if (alive && tensor.category == Category::kActivation && tensor.grad_mode &&
        model.models.Untrained(t.stacks[tensor.stack].root_module))
      untrained += tensor.bytes;
    if (tensor.born >= window.begin) made += tensor.bytes * factor;
    if (evaluation ? tensor.born >= window.begin : alive) part.push_back(&tensor);
  }
  const bool refused_carries = facts.oom->layout != 0 && carriers.Carries(t.layouts[facts.oom->layout].shape);
  const bool refused_logits = logits.Is(facts.oom->layout);
  if (refused_carries && !refused_logits && !window.whole) {
    live += facts.refused;
    made += facts.refused * (evaluation ? RecurrentFactor(t, facts.oom->stack) : 1);
  }
  const bool reached_end = window.whole || logits_seen || facts.oom->phase == PhaseKind::kBackward;
  const double reuse = compiled ? kCompiledReuse : 1.0;
  double kept = evaluation ? static_cast<double>(made) * reuse : static_cast<double>(live);
  if (!reached_end) {
    const double whole =
        compiled ? 0 : WholeForward(facts, batch, carriers, model, window.begin, part, evaluation ? made : live);
    // An evaluation of the same batch that ran whole before knows more than an unknown share of a forward.
    const int64_t evaluated = evaluation ? 0 : MadeInEvaluation(facts, batch, carriers, logits);
    if (whole > 0) {
      kept = std::max(kept, whole * reuse);
    } else if (evaluated > 0) {
      kept = std::max(kept, static_cast<double>(evaluated) * reuse);
    } else {
      kept *= kUnknownProgress;
    }
  }
  if (untrained > 0 || model.models.Untrained(model.root)) {
    demand.untrained = untrained;
    if (model.models.Untrained(model.root)) demand.untrained += static_cast<int64_t>(kept) - live;
  }
  if (facts.oom->phase == PhaseKind::kForward || evaluation)
    demand.models_to_come = MadeByModelsToCome(facts, batch, model);
  kept += static_cast<double>(demand.to_come_of_models());
  // What seems not to carry the batch comes with each of the layers still to come, too.
  const double seen = static_cast<double>(std::max<int64_t>(1, evaluation ? made : live));
  if (kept > seen) demand.to_come = static_cast<int64_t>(static_cast<double>(unscaled) * (kept / seen - 1));
  demand.fixed += demand.to_come;
  demand.kept = std::max<int64_t>(0, static_cast<int64_t>(kept) - demand.inputs);
  kept *= kBackwardShare;
  const int64_t vocabulary = Vocabulary(facts);
  if (logits_elements == 0 && vocabulary > 0 && !batch.input.empty() && facts.oom->phase != PhaseKind::kBackward) {
    logits_elements = Elements(batch.input) * vocabulary;
  }
  const int64_t copies = (evaluation ? made_logits : live_logits) + (refused_logits ? facts.refused : 0);
  if (compiled) {
    demand.logits = std::max(copies, logits_elements * kCompiledLogitsBytes);
  } else if (facts.oom->phase == PhaseKind::kBackward) {
    demand.logits = std::max(copies, logits_elements * kFewestLogitsBytes);
  } else {
    // Where training was not seen, nothing of the loss can be relied on to be the same buffer.
    const int64_t to_come = kLogitsGradientBytes + (loss_seen && !evaluation ? 0 : kLogSoftmaxBytes);
    demand.logits = std::max(copies + logits_elements * to_come, logits_elements * kFewestLogitsBytes);
  }
  demand.carrying = static_cast<int64_t>(kept) + demand.logits;
  // A gradient on its way to be added to what is accumulated.
  demand.fixed += states.largest_parameter;
  return demand;
}

int64_t SavedByCheckpointing(const Facts& facts, const BatchCarriers& carriers, const Demand& demand) {
  const Timeline& t = *facts.timeline;
  const ModuleList list = LongestList(t, FindModelInWork(facts));
  int64_t index = 0;
  struct Block {
    int64_t bytes = 0;
    int64_t output = 0;
  };
  std::map<int64_t, Block> blocks;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (!carriers.Carries(tensor) || tensor.born < t.first_training_forward) continue;
    if (!list.Holds(tensor.module.str(), index)) continue;
    blocks[index].bytes += tensor.bytes;
    blocks[index].output = tensor.bytes;
  }
  // The block in work is not whole.
  if (blocks.size() < 2) return 0;
  if (facts.oom->phase == PhaseKind::kForward) blocks.erase(std::prev(blocks.end()));
  int64_t bytes = 0, outputs = 0, largest = 0;
  for (const auto& [number, block] : blocks) {
    bytes += block.bytes;
    outputs += block.output;
    largest = std::max(largest, block.bytes);
  }
  const double all = static_cast<double>(list.size) / static_cast<double>(blocks.size());
  const auto saved = static_cast<int64_t>(all * static_cast<double>(bytes - outputs)) - largest;
  return std::clamp<int64_t>(saved, 0, demand.kept);
}

Demand EstimateEvaluation(const Facts& facts, const BatchCarriers& carriers) {
  const Timeline& t = *facts.timeline;
  Demand demand;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (IsParameterState(tensor.category)) continue;
    (carriers.Carries(tensor) ? demand.carrying : demand.fixed) += tensor.bytes;
  }
  const bool carries = facts.oom->layout != 0 && carriers.Carries(t.layouts[facts.oom->layout].shape);
  (carries ? demand.carrying : demand.fixed) += facts.refused;
  if (!Logits(t).Is(facts.oom->layout)) {
    demand.carrying = static_cast<int64_t>(static_cast<double>(demand.carrying) * kRestOfEvaluation);
  } else {
    demand.carrying += facts.refused;  // the loss makes a copy
  }
  return demand;
}

}  // namespace oomtrace
