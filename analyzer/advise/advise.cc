#include "analyzer/advise/advise.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "analyzer/advise/batch_flags.h"
#include "analyzer/advise/predict.h"
#include "analyzer/diagnose/causes.h"
#include "analyzer/diagnose/culprit.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Below this share of the card a saving is not worth an entry.
constexpr double kWorthSaving = 0.02;

// PYTORCH_CUDA_ALLOC_CONF was renamed in torch 2.10.
std::string AllocatorVariable(const std::string& torch_version) {
  const std::vector<std::string> parts = absl::StrSplit(torch_version, '.');
  int major = 0, minor = 0;
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[0], &major) || !absl::SimpleAtoi(parts[1], &minor)) {
    return "PYTORCH_CUDA_ALLOC_CONF";
  }
  return major > 2 || (major == 2 && minor >= 10) ? "PYTORCH_ALLOC_CONF" : "PYTORCH_CUDA_ALLOC_CONF";
}

class Advisor {
 public:
  explicit Advisor(Diagnosis& d)
      : d_(d), facts_(d.facts), t_(*d.facts.timeline), predictor_(d), flags_(FindBatchFlags(t_.process.arguments)) {
    killed_at_ = facts_.oom ? facts_.device.tensors() + facts_.device.cache() + facts_.requested : 0;
  }

  void Run() {
    const std::string& pattern = d_.pattern.name;
    if (pattern == "gradual_leak") {
      StopLeak();
    } else if (facts_.oom) {
      if (Has("accumulating_autograd_graph") || Has("accumulating_tensors")) StopLeak();
      FreeOthers();
      RaiseLimit();
      if (pattern == "eval_spike") {
        Evaluation();
      } else if (pattern == "batch_outlier") {
        BoundBatch();
      } else {
        Allocator();
        MicroBatch();
        Logits();
        Checkpointing();
        OptimizerState();
        OptimizerTemporaries();
      }
      if (pattern == "late_allocation") MoveLateAllocation();
    } else if (d_.leak.found && d_.leak.boundaries_are_steps) {
      StopLeak();
    }
    DropHopeless();
    Rank();
    for (report::Fix& fix : fixes_) *d_.report.add_fixes() = std::move(fix);
  }

 private:
  bool Has(const char* cause) const {
    return std::any_of(d_.report.causes().begin(), d_.report.causes().end(),
                       [&](const report::Cause& c) { return c.id() == cause; });
  }
  int64_t Total() const { return facts_.device.total(); }
  bool Worth(int64_t saving) const { return static_cast<double>(saving) > kWorthSaving * static_cast<double>(Total()); }

  report::Fix& Add(const char* id, const std::string& title, const std::string& change, const Prediction& p,
                   const std::string& price, bool keeps_batch = true) {
    report::Fix fix;
    fix.set_id(id);
    fix.set_title(title);
    fix.set_change(change);
    fix.set_predicted_peak(p.reserved);
    fix.set_saving(std::max<int64_t>(0, killed_at_ - p.reserved));
    fix.set_keeps_effective_batch(keeps_batch);
    fix.set_basis(p.basis);
    fix.set_price(price);
    fix.set_fits(p.fits);
    fix.set_headroom(p.headroom);
    fixes_.push_back(std::move(fix));
    return fixes_.back();
  }

  std::string Where() const { return ShortSite(RefusalSite(facts_)); }

  // ---- leaks

  void StopLeak() {
    const LeakGroup& group = d_.leak.groups.front();
    const std::string site = ShortSite(SiteOf(t_, t_.tensors[group.example].stack));
    const std::string holder = d_.report.culprit().holder();
    const std::string what = holder.empty() ? absl::StrCat("what is made at ", site) : holder;
    const int64_t need = facts_.oom ? facts_.need() : facts_.peak;
    Prediction p;
    p.reserved = std::max<int64_t>(0, need - d_.leak.total);
    p.headroom = predictor_.capacity() - p.reserved;
    p.fits = p.headroom >= 0;
    const std::string effect = absl::StrCat(" (saves ", Bytes(static_cast<int64_t>(d_.leak.bytes_per_boundary)),
                                            d_.leak.boundaries_are_steps ? " a step)" : " a micro-batch)");
    if (d_.leak.with_graph) {
      Add("detach", "Keep numbers, not graphs",
          absl::StrCat(
              "where ", what,
              " ends up in a list or a running total, store loss.item() or tensor.detach() instead of the tensor",
              effect),
          p, "none; .item() waits for the GPU, so call it only where the value is logged");
    } else {
      Add("move_to_cpu", "Do not keep tensors on the GPU from step to step",
          absl::StrCat("where ", what, " is stored, store tensor.detach().cpu(), or clear the container each step",
                       effect),
          p, "a copy to host memory for each tensor kept");
      Add("bound_container", "Bound the container",
          absl::StrCat("give the container that keeps ", what, " a limit, as collections.deque(maxlen=...) does"), p,
          "older entries are lost");
    }
  }

  // ---- outside

  void FreeOthers() {
    const int64_t others = facts_.device.other_processes();
    if (!Worth(others)) return;
    const Prediction p = predictor_.TrainingWithMore(others);
    if (!p.fits && d_.pattern.name != "other_process") return;
    std::vector<std::string> names;
    for (const GpuProcess& process : t_.gpu_processes) {
      if (!process.self && names.size() < 3) {
        names.push_back(absl::StrCat(process.name.empty() ? "process" : process.name, " (pid ", process.pid, ", ",
                                     Bytes(process.bytes), ")"));
      }
    }
    std::string list;
    for (const std::string& name : names) absl::StrAppend(&list, list.empty() ? "" : ", ", name);
    report::Fix& fix =
        Add("free_other_processes", "Free the memory of other processes",
            absl::StrCat("stop ", list.empty() ? "them" : list, " or use another card: ", Bytes(others), " come free"),
            p, "whatever they were doing");
    fix.set_saving(others);
  }

  void RaiseLimit() {
    if (!Has("memory_limit")) return;
    Prediction p;
    p.reserved = killed_at_;
    p.headroom = facts_.device.free() - facts_.requested;
    p.fits = p.headroom >= 0;
    Add("raise_memory_limit", "Raise the process's memory limit",
        "raise or remove torch.cuda.set_per_process_memory_fraction: the device itself had room", p,
        "less for other processes");
  }

  // ---- evaluation

  void Evaluation() {
    if (Has("evaluation_without_no_grad")) {
      int64_t kept = 0;
      for (const uint32_t i : facts_.live) {
        const Tensor& tensor = t_.tensors[i];
        if (tensor.phase == PhaseKind::kEvaluation && tensor.grad_mode && tensor.category != Category::kInput)
          kept += tensor.bytes;
      }
      // Without a graph a layer's output goes when the next one has read it: a few tensors of the largest size remain.
      int64_t largest = facts_.refused;
      for (const uint32_t i : facts_.live) {
        if (t_.tensors[i].phase == PhaseKind::kEvaluation) largest = std::max(largest, t_.tensors[i].bytes);
      }
      const Prediction p = predictor_.Of(facts_.need() - kept + 3 * largest, predictor_.expandable_recorded());
      Add("no_grad", "Evaluate without gradients",
          absl::StrCat("put the evaluation around ", Where(), " under torch.no_grad() or torch.inference_mode()"), p,
          "none");
    }
    const int64_t size = predictor_.batch().size;
    for (int64_t smaller = size / 2; smaller >= 1; smaller /= 2) {
      const Prediction p = predictor_.Evaluation(smaller);
      if (!p.fits && smaller > 1) continue;
      const std::string change =
          flags_.evaluation_batch && flags_.evaluation_batch->value == size
              ? absl::StrCat("run with ", flags_.evaluation_batch->With(smaller))
              : absl::StrCat("in the evaluation around ", Where(), ", use batches of ", smaller, " instead of ", size);
      Add("evaluation_batch", absl::StrCat("Evaluate in batches of ", smaller), change, p,
          "a slower evaluation; training is unchanged");
      break;
    }
  }

  // ---- batch

  void BoundBatch() {
    int64_t before = 0;
    for (const Step& step : t_.steps) before = std::max(before, step.peak);
    const Prediction p = predictor_.Of(before, predictor_.expandable_recorded());
    Prediction seen = p;
    // It ran with this peak until now.
    seen.reserved = std::max(before, std::min(p.reserved, facts_.peak_reserved));
    seen.headroom = predictor_.capacity() - seen.reserved;
    seen.fits = true;
    const std::string input = predictor_.batch().input.empty()
                                  ? std::string()
                                  : absl::StrCat(" (this one had ", Shape(predictor_.batch().input, ""), ")");
    Add("bound_batch", "Limit the largest batch",
        absl::StrCat("truncate or bucket the samples so that no batch exceeds those that fitted", input,
                     ", or form batches by a limit of tokens"),
        seen, "long samples are cut, or batches hold fewer of them");
    MicroBatch();
    Allocator();
  }

  // Micro-batches below the recorded one that divide the effective batch, largest first.
  std::vector<int64_t> SmallerBatches() const {
    const int64_t batch = predictor_.batch().size;
    const int64_t total = batch * Accumulation();
    std::vector<int64_t> sizes;
    for (int64_t size = batch - 1; size >= 1; --size) {
      if (total % size == 0) sizes.push_back(size);
    }
    return sizes;
  }

  // Micro-batches that the command line says make a step; 1 where it does not say.
  int64_t Accumulation() const {
    const bool flag_is_batch = flags_.batch && flags_.batch->value == predictor_.batch().size;
    return flag_is_batch && flags_.accumulation ? flags_.accumulation->value : 1;
  }

  // How to get the micro-batch `size`, with the effective batch unchanged.
  std::string BatchChange(int64_t size) const {
    const int64_t batch = predictor_.batch().size;
    const int64_t factor = batch / size;
    const bool flag_is_batch = flags_.batch && flags_.batch->value == batch;
    if (flag_is_batch && flags_.accumulation) {
      return absl::StrCat("run with ", flags_.batch->With(size), " ",
                          flags_.accumulation->With(Accumulation() * batch / size));
    }
    if (flag_is_batch && flags_.total_is_fixed) {
      return absl::StrCat("run with ", flags_.batch->With(size), " (the script accumulates ", factor,
                          " times as often for the same total batch)");
    }
    if (flag_is_batch) {
      const bool trainer = flags_.batch->name.find("per_device") != std::string::npos ||
                           flags_.batch->name.find("per-device") != std::string::npos;
      if (trainer)
        return absl::StrCat("run with ", flags_.batch->With(size), " --gradient_accumulation_steps",
                            flags_.batch->separator, factor);
      return absl::StrCat("run with ", flags_.batch->With(size), " and accumulate gradients over ", factor,
                          " times as many micro-batches before each optimizer step");
    }
    const int64_t now = t_.steps.empty() ? 0 : t_.steps.back().micro_batches;
    return absl::StrCat(
        "make the micro-batch ", size, " instead of ", batch, " and accumulate gradients over ",
        now > 0 ? absl::StrCat(now * factor, " of them (now ", now, ")") : absl::StrCat(factor, " times as many"),
        " before each optimizer step", InputPlace());
  }

  std::string InputPlace() const {
    for (auto it = t_.tensors.rbegin(); it != t_.tensors.rend(); ++it) {
      if (it->born <= facts_.moment && it->category == Category::kInput && it->stack != 0) {
        return absl::StrCat(" (the batch arrives at ", ShortSite(SiteOf(t_, it->stack)), ")");
      }
    }
    return "";
  }

  std::string Variable() const {
    return absl::StrCat(AllocatorVariable(t_.process.torch_version), "=expandable_segments:True");
  }

  void MicroBatch() {
    const int64_t batch = predictor_.batch().size;
    if (batch <= 1) return;
    const bool expandable = predictor_.expandable_recorded();
    int64_t plain = 0;
    const std::vector<int64_t> sizes = SmallerBatches();
    const auto price = [&](int64_t size) {
      return absl::StrCat("smaller kernels, ",
                          absl::StrFormat("%.3g", static_cast<double>(batch) / static_cast<double>(size)),
                          " times as many; the same gradients");
    };
    for (const int64_t size : sizes) {
      const Prediction p = predictor_.Training(size, expandable);
      if (!p.fits && size != sizes.back()) continue;
      Add("micro_batch", absl::StrCat("Micro-batch ", size), BatchChange(size), p, price(size));
      plain = size;
      break;
    }
    if (expandable || predictor_.Training(batch, true).fits) return;
    for (const int64_t size : sizes) {
      if (size <= plain) break;
      const Prediction p = predictor_.Training(size, true);
      if (!p.fits) continue;
      Add("micro_batch_expandable_segments", absl::StrCat("Micro-batch ", size, " with expandable segments"),
          absl::StrCat("set ", Variable(), " and ", BatchChange(size)), p, price(size));
      break;
    }
  }

  void Allocator() {
    if (predictor_.expandable_recorded()) return;
    const Prediction p = predictor_.Training(std::max<int64_t>(predictor_.batch().size, 1), true);
    const bool much_cache = Worth(facts_.device.cache()) && Has("fragmentation");
    if (!p.fits && !much_cache) return;
    // It changes nothing for what no setting can make smaller.
    if (!much_cache && !predictor_.replayable()) return;
    Add("expandable_segments", "Let PyTorch grow its segments", absl::StrCat("set ", Variable(), " in the environment"),
        p, "none known for one GPU; the code stays as it is");
  }

  // ---- the model

  Prediction Less(int64_t saving) const {
    const Prediction now =
        predictor_.Training(std::max<int64_t>(predictor_.batch().size, 1), predictor_.expandable_recorded());
    Prediction p = now;
    p.basis = "estimated";
    p.reserved = std::max<int64_t>(0, now.reserved - saving);
    p.headroom = predictor_.capacity() - p.reserved;
    p.fits = p.headroom >= 0;
    return p;
  }

  void Logits() {
    if (!Has("logits_too_large")) return;
    // A chunk is an eighth of the tokens; logits of one chunk and its copies are alive at a time.
    const int64_t saving = predictor_.demand().logits * 7 / 8;
    if (!Worth(saving)) return;
    Add("chunked_cross_entropy", "Compute the loss in chunks",
        absl::StrCat(
            "do not materialise the logits at ", Where(),
            ": a fused linear cross entropy (Liger Kernel, cut-cross-entropy) or a loop over chunks of tokens"),
        Less(saving), "a code change; the head is recomputed in backward");
  }

  void Checkpointing() {
    if (!Has("activations_too_large") || facts_.oom->phase == PhaseKind::kSetUp) return;
    // With every block recomputed its input is kept, about an eighth of what a block keeps.
    const int64_t saving = (predictor_.demand().carrying - predictor_.demand().logits) * 3 / 4;
    if (!Worth(saving)) return;
    Add("activation_checkpointing", "Recompute activations in backward",
        "wrap each block in torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False); Transformers: "
        "gradient_checkpointing=True",
        Less(saving), "about a third more time for each step");
  }

  void OptimizerState() {
    if (!Has("model_states_too_large") && !Has("optimizer_state_birth")) return;
    const States& states = predictor_.states();
    const double now = StatePerParameterByte(states.optimizer_type, "");
    if (now < 1.5) return;
    const int64_t saving = states.optimizer * 3 / 4;
    if (!Worth(saving)) return;
    Add("smaller_optimizer_state", "Keep the optimizer's state in 8 bits",
        absl::StrCat("replace ", states.optimizer_type, " by its 8-bit form (bitsandbytes or torchao AdamW8bit)"),
        Less(saving), "a dependency; slightly different updates");
  }

  // What a step makes beside state: copies of all gradients or parameters at once, as the foreach implementations do.
  void OptimizerTemporaries() {
    if (facts_.oom->phase != PhaseKind::kOptimizerStep) return;
    int64_t temporary = 0;
    for (const uint32_t i : facts_.live) {
      const Tensor& tensor = t_.tensors[i];
      if (tensor.phase == PhaseKind::kOptimizerStep && tensor.category == Category::kTemporary)
        temporary += tensor.bytes;
    }
    if (!Worth(temporary)) return;
    const States& states = predictor_.states();
    Prediction p = predictor_.Of(std::max(states.total(), facts_.device.tensors() - temporary), /*expandable=*/true);
    Add("fused_optimizer", "Step without temporaries",
        absl::StrCat("pass fused=True (or foreach=False) to ",
                     states.optimizer_type.empty() ? "the optimizer" : states.optimizer_type),
        p, "fused: none; foreach=False: a slower step");
  }

  void MoveLateAllocation() {
    Prediction p = Less(0);
    int64_t before = 0;
    for (const Step& step : t_.steps) before = std::max(before, step.peak);
    p.reserved = std::max(before, std::min(p.reserved, facts_.peak_reserved));
    p.headroom = predictor_.capacity() - p.reserved;
    p.fits = p.headroom >= 0;
    Add("off_device", "Make the one-off copy off the GPU",
        absl::StrCat("at ", Where(),
                     ", build it on the CPU (tensor.detach().cpu(), map_location=\"cpu\") or piece by piece"),
        p, "a copy over the bus, once");
  }

  // ---- ranking

  // What misses by more than a quarter of the card is no help, nor is what saves next to nothing and does not fit.
  // The smallest micro-batch stays: that not even it fits is worth knowing.
  void DropHopeless() {
    std::erase_if(fixes_, [&](const report::Fix& fix) {
      if (fix.fits()) return false;
      if (fix.id() == "micro_batch") return predictor_.demand().carrying > 0 && !Worth(predictor_.demand().carrying);
      return 4 * -fix.headroom() > Total() || !Worth(fix.saving());
    });
  }

  // The order of equal fit: a setting, a flag, an edit, somebody else's processes.
  static int Effort(const report::Fix& fix) {
    static const std::vector<std::string> kOrder = {"detach",
                                                    "move_to_cpu",
                                                    "no_grad",
                                                    "raise_memory_limit",
                                                    "fused_optimizer",
                                                    "expandable_segments",
                                                    "evaluation_batch",
                                                    "bound_batch",
                                                    "off_device",
                                                    "bound_container",
                                                    "micro_batch",
                                                    "micro_batch_expandable_segments",
                                                    "activation_checkpointing",
                                                    "chunked_cross_entropy",
                                                    "smaller_optimizer_state",
                                                    "free_other_processes"};
    return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), fix.id()) - kOrder.begin());
  }

  void Rank() {
    const bool others = d_.pattern.name == "other_process";
    std::stable_sort(fixes_.begin(), fixes_.end(), [&](const report::Fix& a, const report::Fix& b) {
      if (a.fits() != b.fits()) return a.fits();
      if (others && (a.id() == "free_other_processes") != (b.id() == "free_other_processes"))
        return a.id() == "free_other_processes";
      return Effort(a) < Effort(b);
    });
  }

  Diagnosis& d_;
  const Facts& facts_;
  const Timeline& t_;
  Predictor predictor_;
  BatchFlags flags_;
  int64_t killed_at_ = 0;
  std::vector<report::Fix> fixes_;
};

}  // namespace

void Advise(Diagnosis& diagnosis) { Advisor(diagnosis).Run(); }

}  // namespace oomtrace
