#include "analyzer/diagnose/causes.h"

#include <algorithm>
#include <map>
#include <set>

#include "analyzer/diagnose/batch.h"
#include "analyzer/diagnose/logits.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/untrained.h"

namespace oomtrace {
namespace {

constexpr int64_t kShortestAttention = 256;
constexpr double kWorthNaming = 0.2;

double Share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

class Ranking {
 public:
  Ranking(const Facts& facts, const Leak& leak, const KeptOutputs& kept, const PrivatePools& pools,
          const Pattern& pattern)
      : facts_(facts),
        t_(*facts.timeline),
        leak_(leak),
        kept_(kept),
        pools_(pools),
        pattern_(pattern),
        logits_(*facts.timeline) {
    const std::vector<uint32_t> leaked = LeakedTensors(facts, leak);
    leaked_.insert(leaked.begin(), leaked.end());
    for (const Tensor& tensor : t_.tensors) {
      if (tensor.category == Category::kParameter && t_.layouts[tensor.layout].shape.size() == 4)
        kernels_.insert(t_.layouts[tensor.layout].shape[0]);
    }
  }

  std::vector<Cause> Rank() {
    AddLeak();
    if (facts_.oom) {
      AddRequest();
      AddData();
      AddStates();
      AddActivations();
      AddEvaluation();
      AddOutside();
      AddPrivatePools();
      AddFragmentation();
      AddLate();
    }
    std::erase_if(causes_, [](const Cause& cause) { return cause.confidence < kWorthNaming; });
    std::stable_sort(causes_.begin(), causes_.end(),
                     [](const Cause& a, const Cause& b) { return a.confidence > b.confidence; });
    return causes_;
  }

 private:
  void Add(const char* id, const char* title, double confidence) {
    causes_.push_back({id, title, std::min(confidence, 0.97)});
  }
  // Of what is there beside a growth or a large batch that decides: true, but not why it died.
  void AddBeside(const char* id, const char* title, double confidence) {
    Add(id, title, Is("gradual_leak") || Is("batch_outlier") || kept_.found ? confidence / 2 : confidence);
  }
  bool Is(const char* pattern) const { return pattern_.name == pattern; }
  // Bytes of a category but for what leaks: that is a cause of its own.
  int64_t Of(Category category) const {
    const int64_t bytes = facts_.category[static_cast<int>(category)] - facts_.leaked[static_cast<int>(category)];
    return std::max<int64_t>(0, bytes);
  }

  void AddLeak() {
    if (!leak_.found) return;
    // A leak between micro-batches, within one step, is a cause though not the pattern of that name.
    const double within_step = leak_.boundaries_are_steps || !facts_.oom ? 0 : 0.85;
    const double confidence = pools_.decides       ? 0.4
                              : Is("gradual_leak") ? 0.95
                              : Is("healthy")      ? 0.7
                                                   : std::max(0.3, within_step);
    if (leak_.with_graph) {
      Add("accumulating_autograd_graph", "tensors of older steps are kept together with their autograd graph",
          confidence);
    } else {
      Add("accumulating_tensors", "tensors of older steps are kept in a container", confidence);
    }
  }

  void AddRequest() {
    if (facts_.refused > facts_.available()) {
      const bool without_others = facts_.refused <= facts_.available() + facts_.device.other_processes();
      Add("single_allocation_exceeds_card", "one tensor is larger than all the memory this process can have",
          Is("other_process") && without_others ? 0.4 : 0.96);
    }
    if (facts_.refused_by_limit) {
      Add("memory_limit", "the process runs under a memory limit (set_per_process_memory_fraction)",
          facts_.memory_limit_known ? 0.95 : 0.8);
    }
    int64_t logits = logits_.Is(facts_.oom->layout) ? facts_.refused : 0;
    int64_t attention = IsScores(facts_.oom->layout) ? facts_.refused : 0;
    const bool asked_for_logits = logits > 0, asked_for_attention = attention > 0;
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (IsParameterState(tensor.category) || leaked_.contains(i)) {
        continue;
      }
      if (logits_.Is(tensor.layout)) logits += tensor.bytes;
      if (IsScores(tensor.layout)) attention += tensor.bytes;
    }
    const double share = Share(logits, facts_.need());
    if (share > 0.1) {
      AddBeside("logits_too_large", "the logits (tokens x vocabulary) and their copies",
                0.4 + share * 0.5 + (asked_for_logits ? 0.25 : 0));
    }
    const double scores = Share(attention, facts_.need());
    if (scores > 0.15) {
      AddBeside("attention_scores_too_large", "attention scores (length x length) are materialised",
                0.4 + scores * 0.5 + (asked_for_attention ? 0.2 : 0));
    }
  }

  // Before any model has run, what came from the host and is no parameter is a data set or a loaded file: no batch yet.
  void AddData() {
    if (facts_.oom->phase != PhaseKind::kSetUp) return;
    const double share = Share(Of(Category::kInput), facts_.need());
    const double computed =
        Share(Of(Category::kActivation) + Of(Category::kTemporary) + Of(Category::kUnknown), facts_.need());
    if (share > 0.5 && computed < 0.1)
      Add("data_on_card", "data, or a loaded file, was copied to the card before any model ran", 0.5 + share / 2);
  }

  void AddStates() {
    const double share =
        Share(Of(Category::kParameter) + Of(Category::kGradient) + Of(Category::kOptimizerState), facts_.need());
    // With everything that a step needs, born yet or not: then no batch is small enough.
    const States states = CompleteStates(facts_);
    if (states.run_only && share > 0.9) {
      Add("model_states_too_large", "the model's parameters alone need more than the card has", 0.97);
    } else if (!states.run_only && states.total() > facts_.available()) {
      Add("model_states_too_large", "parameters, gradients and optimizer state alone need more than the card has",
          0.97);
    } else if (share > 0.5) {
      Add("model_states_too_large", "parameters, gradients and optimizer state fill the card",
          Is("late_allocation") ? share / 2 : share);
    }
    const bool born_now = facts_.oom->phase == PhaseKind::kOptimizerStep && !facts_.steady;
    const bool born_before = facts_.state_step >= 0 && facts_.steps == facts_.state_step + 1;
    if (born_now) Add("optimizer_state_birth", "the optimizer's state is made in its first step", 0.9);
    if (!born_now && born_before && !facts_.steady) {
      Add("optimizer_state_birth", "the optimizer's state, made in the first step, is new beside the activations",
          0.3 + Share(Of(Category::kOptimizerState), facts_.need()));
    }
  }

  void AddActivations() {
    const int64_t bytes = facts_.oom->phase == PhaseKind::kEvaluation
                              ? OfOneEvaluationBatch()
                              : Of(Category::kActivation) + Of(Category::kTemporary);
    const double share = Share(bytes, facts_.need());
    const bool steady_need = Is("first_batch") || Is("at_start") || Is("eval_spike");
    if (share > 0.3)
      AddBeside("activations_too_large", "activations of one micro-batch", (steady_need ? 0.25 : 0.05) + share * 0.7);
    const Untrained untrained = FindUntrained(facts_);
    const double kept_in_vain = Share(untrained.activations, facts_.need());
    if (IsTraining(facts_.oom->phase) && !facts_.steady && kept_in_vain > 0.3)
      Add("untrained_network_keeps_graph",
          "a network that no optimizer trains runs with gradients on and keeps a graph", 0.7 + kept_in_vain / 3);
    if (Is("batch_outlier")) Add("batch_outlier", "one batch is larger than those before it", 0.93);
  }

  // An evaluation may keep the graphs of many batches: of what a statement made, the last is the batch's in work.
  int64_t OfOneEvaluationBatch() const {
    std::map<std::pair<uint32_t, uint32_t>, int64_t> newest;  // by stack and layout
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (tensor.category != Category::kActivation && tensor.category != Category::kTemporary) continue;
      if (!leaked_.contains(i)) newest[{tensor.stack, tensor.layout}] = tensor.bytes;
    }
    int64_t bytes = 0;
    for (const auto& [statement, last] : newest) bytes += last;
    return bytes;
  }

  void AddEvaluation() {
    if (facts_.oom->phase != PhaseKind::kEvaluation) return;
    int64_t kept = 0;
    int64_t forward_born = 0;
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (tensor.phase != PhaseKind::kEvaluation || tensor.category == Category::kInput) continue;
      forward_born += tensor.bytes;
      if (tensor.grad_mode) kept += tensor.bytes;
    }
    if (facts_.oom->grad_mode && 2 * kept > forward_born && kept > 0 && EvaluatesWithGradients(facts_)) {
      Add("evaluation_without_no_grad", "evaluation runs with gradients on and keeps a graph", 0.93);
    }
    if (kept_.found) {
      Add("evaluation_accumulates_outputs", "the evaluation keeps the outputs of all its batches on the GPU", 0.95);
    }
    const Batch here = InferBatch(t_, facts_.oom->time);
    int64_t last_training = -1;
    for (const PhaseMark& mark : t_.phases) {
      if (mark.phase == PhaseKind::kForward && mark.time < facts_.oom->time) last_training = mark.time;
    }
    if (last_training < 0) return;
    const Batch training = InferBatch(t_, last_training);
    if (here.from_inputs && training.from_inputs && here.size > training.size) {
      Add("evaluation_batch_larger", "the evaluation batch is larger than the training batch", 0.9);
    }
  }

  void AddOutside() {
    const int64_t others = facts_.device.other_processes();
    const int64_t short_of = facts_.requested - facts_.device.free();
    if (Is("other_process")) {
      Add("other_process_memory", "another process holds the memory", 0.95);
    } else if (others > 0 && Share(others, facts_.device.total()) > 0.02) {
      Add("other_process_memory", "other processes hold part of the card", short_of <= others ? 0.45 : 0.25);
    }
    const double share = Share(facts_.device.other(), facts_.device.total());
    if (share > 0.05)
      Add("memory_outside_pytorch", "libraries of this process hold memory outside PyTorch", 0.2 + share);
  }

  void AddPrivatePools() {
    if (pools_.decides) {
      Add("private_pools", "private pools (CUDA graphs, MemPool), ever more of them, keep what they were made with",
          0.95);
      return;
    }
    const int64_t idle = facts_.private_idle;
    const bool decides = facts_.device.free() + facts_.unallocated() + idle >= facts_.requested;
    if (Share(idle, facts_.device.total()) < 0.02) return;
    AddBeside("private_pools", "private pools (MemPool, CUDA graphs) keep what was freed in them",
              decides ? 0.9 : 0.2 + Share(idle, facts_.requested) / 2);
  }

  void AddFragmentation() {
    // Where a growth decides, the cache would only have put the end off.
    if (Is("gradual_leak")) return;
    const int64_t unallocated = facts_.unallocated();
    if (!facts_.oom->from_caching_allocator) {
      if (facts_.device.free() + unallocated >= facts_.requested && Share(unallocated, facts_.requested) > 0.1)
        Add("cache_out_of_reach", "PyTorch's cache has the room, and only PyTorch's own tensors can have it", 0.85);
    } else if (Is("fragmentation")) {
      Add("fragmentation", "enough is reserved but unallocated, in pieces too small", 0.92);
    } else if (Is("late_allocation")) {
      return;
    } else if (unallocated >= facts_.refused) {
      AddBeside("fragmentation", "enough is reserved but unallocated, in pieces too small", 0.85);
    } else if (Share(unallocated, facts_.device.total()) > 0.08) {
      Add("fragmentation", "much is reserved but unallocated", 0.35 + 0.4 * Share(unallocated, facts_.refused));
    }
  }

  void AddLate() {
    if (Is("late_allocation"))
      Add("late_allocation", "something that had not been allocated before", pattern_.confidence);
  }

  // Square maps of a convolution have as many channels as one of the kernels has outputs.
  bool IsScores(uint32_t layout) const {
    return IsAttentionScores(t_, layout) &&
           !(t_.layouts[layout].shape.size() == 4 && kernels_.contains(t_.layouts[layout].shape[1]));
  }

  const Facts& facts_;
  const Timeline& t_;
  const Leak& leak_;
  const KeptOutputs& kept_;
  const PrivatePools& pools_;
  const Pattern& pattern_;
  Logits logits_;
  std::set<uint32_t> leaked_;  // of the live tensors
  std::set<int64_t> kernels_;  // outputs of the convolutions
  std::vector<Cause> causes_;
};

}  // namespace

bool IsAttentionScores(const Timeline& timeline, uint32_t layout) {
  if (layout == 0) return false;
  const std::vector<int64_t>& shape = timeline.layouts[layout].shape;
  return (shape.size() == 4 || shape.size() == 3) && shape.back() == shape[shape.size() - 2] &&
         shape.back() >= kShortestAttention;
}

std::vector<Cause> RankCauses(const Facts& facts, const Leak& leak, const KeptOutputs& kept, const PrivatePools& pools,
                              const Pattern& pattern) {
  return Ranking(facts, leak, kept, pools, pattern).Rank();
}

}  // namespace oomtrace
