#include "analyzer/advise/forward_demand.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "analyzer/diagnose/causes.h"
#include "analyzer/diagnose/site.h"

namespace oomtrace {
namespace {

constexpr double kCompiledReuse = 1.5;
constexpr double kUnknownProgress = 2.0;
// Gradients of activations during backward, beside what the forward keeps.
constexpr double kBackwardShare = 1.15;
// Bytes for each element of the logits at the peak of the loss. Eager, 16-bit: the logits, an fp32 copy, its
// log-softmax and one gradient (2 + 4 + 4 + 2); eager, 32-bit: logits, log-softmax and gradient. A compiled loss fuses
// the copy away: logits, gradient and one fp32 buffer.
constexpr int64_t kEagerLogitsBytes = 12;
constexpr int64_t kCompiledLogitsBytes = 8;

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
  const std::vector<int64_t> arrivals = Arrivals(facts, batch);
  Window window{phase_begin, facts.moment, false};
  if (arrivals.size() >= 2 && PhaseAt(t, arrivals.back()) == facts.oom->phase) {
    // An evaluation's earlier iteration of the same shape ran whole.
    window = {arrivals[arrivals.size() - 2], arrivals.back(), true};
    if (PhaseAt(t, window.begin) != facts.oom->phase) window = {arrivals.back(), facts.moment, false};
  } else if (!arrivals.empty() && arrivals.back() > phase_begin) {
    window.begin = arrivals.back();
  }
  return window;
}

// "transformer.h.7.mlp" → {"transformer.h", 7}
bool BlockOf(const std::string& path, std::string& list, int64_t& index) {
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  std::string prefix;
  for (const std::string& part : parts) {
    if (absl::SimpleAtoi(part, &index)) {
      list = prefix;
      return true;
    }
    prefix += prefix.empty() ? part : "." + part;
  }
  return false;
}

// How many times as much the whole forward keeps as the part that ran: by the longest list of like modules. 0: unknown.
double RestOfForward(const Facts& facts, const Window& window) {
  const Timeline& t = *facts.timeline;
  std::map<std::string, std::set<int64_t>> lists;
  std::string list;
  int64_t index = 0;
  for (const Module& module : t.modules) {
    if (BlockOf(module.path, list, index)) lists[list].insert(index);
  }
  std::string longest;
  for (const auto& [name, members] : lists) {
    if (longest.empty() || members.size() > lists[longest].size()) longest = name;
  }
  if (longest.empty() || lists[longest].size() < 3) return 0;
  int64_t reached = -1;
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born < window.begin || tensor.born > window.end) continue;
    if (BlockOf(tensor.module, list, index) && list == longest) reached = std::max(reached, index);
  }
  if (reached < 0) return 0;
  const double all = static_cast<double>(lists[longest].size());
  // The block in work counts as not begun.
  return reached == 0 ? all : all / static_cast<double>(reached);
}

// Rows of the widest output layer (a vocabulary), 0: none.
int64_t Vocabulary(const Facts& facts) {
  const Timeline& t = *facts.timeline;
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
int64_t MadeInEvaluation(const Facts& facts, const Batch& batch, const BatchCarriers& carriers) {
  const Timeline& t = *facts.timeline;
  const std::vector<int64_t> arrivals = Arrivals(facts, batch);
  for (size_t i = arrivals.size(); i-- > 1;) {
    const int64_t begin = arrivals[i - 1], end = arrivals[i];
    int64_t made = 0;
    for (const Tensor& tensor : t.tensors) {
      if (tensor.born < begin || tensor.device != t.device || tensor.phase != PhaseKind::kEvaluation) continue;
      if (tensor.born >= end) break;
      if (carriers.Carries(tensor) && !IsLogits(t, tensor.layout)) made += tensor.bytes;
    }
    if (made > 0) return made;
  }
  return 0;
}

bool UsesCompile(const Facts& facts) {
  if (IsCompiled(*facts.timeline, facts.oom->stack)) return true;
  return std::any_of(facts.live.begin(), facts.live.end(),
                     [&](uint32_t i) { return IsCompiled(*facts.timeline, facts.timeline->tensors[i].stack); });
}

}  // namespace

Demand EstimateTraining(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const States& states) {
  const Timeline& t = *facts.timeline;
  const bool compiled = UsesCompile(facts);
  const bool evaluation = facts.oom->phase == PhaseKind::kEvaluation;
  const Window window = ForwardInWork(facts, batch);
  Demand demand;
  bool logits_seen = IsLogits(t, facts.oom->layout);
  int64_t logits_elements = logits_seen ? Elements(t.layouts[facts.oom->layout].shape) : 0;
  int64_t live_logits = 0, live = 0, made = 0;
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > window.end) break;
    if (tensor.device != t.device || IsParameterState(tensor.category)) continue;
    const bool alive = tensor.born <= facts.moment && tensor.died > facts.moment;
    const bool carries = carriers.Carries(tensor);
    if (!carries) {
      if (alive) demand.fixed += tensor.bytes;
      continue;
    }
    if (IsLogits(t, tensor.layout) && tensor.born >= window.begin) {
      logits_seen = true;
      logits_elements = std::max(logits_elements, Elements(t.layouts[tensor.layout].shape));
      if (alive) live_logits += tensor.bytes;
      continue;
    }
    if (alive) live += tensor.bytes;
    if (tensor.born >= window.begin) made += tensor.bytes;
  }
  const bool refused_carries = facts.oom->layout != 0 && carriers.Carries(t.layouts[facts.oom->layout].shape);
  const bool refused_logits = IsLogits(t, facts.oom->layout);
  if (refused_carries && !refused_logits && !window.whole) {
    live += facts.refused;
    made += facts.refused;
  }
  const bool reached_end = window.whole || logits_seen || facts.oom->phase == PhaseKind::kBackward;
  double rest = 1.0;
  if (!reached_end) {
    const double by_modules = RestOfForward(facts, window);
    rest = by_modules > 0 ? by_modules : kUnknownProgress;
  }
  const double reuse = compiled ? kCompiledReuse : 1.0;
  double kept = (evaluation ? static_cast<double>(made) * reuse : static_cast<double>(live)) * rest;
  // An evaluation of the same batch that ran whole before knows more than an unknown share of a forward.
  const int64_t evaluated = evaluation ? 0 : MadeInEvaluation(facts, batch, carriers);
  if (evaluated > 0 && rest == kUnknownProgress) {
    kept = std::max(static_cast<double>(live), static_cast<double>(evaluated) * reuse);
  }
  kept *= kBackwardShare;
  const int64_t vocabulary = Vocabulary(facts);
  if (logits_elements == 0 && vocabulary > 0 && !batch.input.empty() && facts.oom->phase != PhaseKind::kBackward) {
    logits_elements = Elements(batch.input) * vocabulary;
  }
  demand.logits = std::max(live_logits + (refused_logits ? facts.refused : 0),
                           logits_elements * (compiled ? kCompiledLogitsBytes : kEagerLogitsBytes));
  demand.carrying = static_cast<int64_t>(kept) + demand.logits;
  // A gradient on its way to be added to what is accumulated.
  demand.fixed += states.largest_parameter;
  return demand;
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
  const bool logits = IsLogits(t, facts.oom->layout);
  if (!logits) {
    const double rest = RestOfForward(facts, ForwardInWork(facts, InferBatch(t, facts.moment)));
    // Without gradients layers give their memory back, so that the rest of the forward needs little more.
    demand.carrying = static_cast<int64_t>(static_cast<double>(demand.carrying) * (rest > 0 ? 1.25 : 1.5));
  } else {
    demand.carrying += facts.refused;  // the loss makes a copy
  }
  return demand;
}

}  // namespace oomtrace
