#include "analyzer/diagnose/pattern.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "analyzer/diagnose/newly_made.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/replay/replay.h"

namespace oomtrace {
namespace {

// One event in so many lost changes no verdict.
constexpr int64_t kFewLost = 1000;

// The peak that a leak-free run would have repeated: of the first step after the leak began, in the phase of the death.
int64_t PeakBeforeLeak(const Facts& facts, const Leak& leak) {
  const Timeline& t = *facts.timeline;
  const int64_t since = std::max<int64_t>(0, leak.since);
  if (facts.oom->phase == PhaseKind::kEvaluation) {
    const int64_t earlier = PeakInPhase(t, PhaseKind::kEvaluation, t.first_training_forward, facts.oom->time);
    const int64_t begin_of_this = BeginOfEvaluation(t, facts.oom->time);
    const int64_t before = PeakInPhase(t, PhaseKind::kEvaluation, t.first_training_forward, begin_of_this);
    if (before > 0) return before;
    if (earlier > 0 && t.steps.empty()) return earlier;
  }
  return since < static_cast<int64_t>(t.steps.size()) ? t.steps[since].peak : 0;
}

bool LeakExplainsDeath(const Facts& facts, const Leak& leak) {
  if (!leak.found || !leak.boundaries_are_steps) return false;
  // What is computed from what grows each step, or made anew beside it, grows with it.
  if (leak.growth != LeakGrowth::kStaying) return leak.total * 100 >= facts.device.total();
  const int64_t excess = facts.need() - PeakBeforeLeak(facts, leak);
  return 2 * leak.total >= excess && leak.total * 100 >= facts.device.total();
}

std::string TensorsAStep(const Leak& leak) {
  if (leak.replaced()) return "one tensor, replaced by a larger one each time";
  const std::string number = absl::StrFormat("%.3g", leak.tensors_per_boundary);
  return absl::StrCat(number, number == "1" ? " tensor a step" : " tensors a step",
                      leak.growth == LeakGrowth::kMadeAnew ? " more, and all of them are made anew"
                      : leak.growth == LeakGrowth::kQueued ? " more than go"
                                                           : "");
}

Pattern LeakPattern(const Facts& facts, const Leak& leak) {
  Pattern p{"gradual_leak", leak.births >= 8 ? 0.97 : leak.births >= 5 ? 0.93 : 0.8, {}};
  p.evidence.push_back(absl::StrFormat(
      "Memory still held at the end of each step grew by %s a step (%s), from step %d on: %s by now.",
      Bytes(static_cast<int64_t>(leak.bytes_per_boundary)), TensorsAStep(leak), leak.since + 1, Bytes(leak.total)));
  p.evidence.push_back(
      absl::StrCat("The growth went on to the last step and never came back; without it the memory needed would be ",
                   Bytes(facts.need() - leak.total), "."));
  if (leak.with_graph) {
    p.evidence.push_back(
        "What grows is what a forward pass saves for its backward pass: something keeps the graphs of older steps.");
  }
  return p;
}

bool OthersDecide(const Facts& facts) {
  if (facts.refused_by_limit) return false;
  const int64_t others = facts.device.other_processes();
  const int64_t own = facts.device.total() - facts.device.free() - others;
  const int64_t short_of = facts.requested - facts.device.free();
  // Others hold more than this process ever asked for, and without them the request is served.
  return others >= own + facts.requested && short_of <= others;
}

// After training ran steadily: this process needs no more than before, but the device had less left for it.
bool OthersGrew(const Facts& facts, int64_t earlier_peak) {
  if (facts.refused_by_limit) return false;
  const int64_t short_of = facts.requested - facts.device.free() - facts.unallocated();
  return facts.need() <= earlier_peak && facts.device.other_processes() > 0 &&
         facts.device.tensors() + facts.device.cache() + facts.requested <= facts.peak_reserved &&
         short_of <= facts.device.other_processes();
}

void AddRequest(const Facts& facts, Pattern& p) {
  const std::string request = facts.requested > facts.refused
                                  ? absl::StrCat("For the ", Bytes(facts.refused),
                                                 " PyTorch asked the device for a segment of ", Bytes(facts.requested))
                                  : absl::StrCat("The request was ", Bytes(facts.requested));
  const std::string cached = absl::StrCat(" and ", Bytes(facts.unallocated()), " sat in PyTorch's cache unused");
  p.evidence.push_back(absl::StrCat(request, "; the device had ", Bytes(facts.device.free()), " free",
                                    UsesCachingAllocator(*facts.timeline) ? cached : "", "."));
  if (100 * facts.private_idle > facts.device.total()) {
    p.evidence.push_back(absl::StrCat(Bytes(facts.private_idle),
                                      " lay idle in private pools (of a torch.cuda.MemPool or a CUDA graph): nothing "
                                      "outside of its pool is served from that."));
  }
  if (facts.refused_by_limit && !facts.oom->by_allocator) {
    p.evidence.push_back(
        absl::StrCat("PyTorch may reserve ", facts.memory_limit_known ? "" : "little more than ",
                     Bytes(facts.memory_limit), " in this process (set_per_process_memory_fraction), and held ",
                     Bytes(facts.device.tensors() + facts.device.cache()), ": it did not ask the device."));
  }
}

std::string Where(const OutOfMemory& oom) {
  if (oom.phase == PhaseKind::kOptimizerStep) return "first optimizer step itself";
  const std::string phase = absl::StrReplaceAll(PhaseName(oom.phase), {{"_", " "}});
  return absl::StrCat(phase, " of micro-batch ", oom.micro_batch + 1, " of the first step");
}

// How far the first whole iteration had come.
std::string FirstBatch(const Facts& facts, const OutOfMemory& oom) {
  if (facts.steps == 0) return absl::StrCat("No ", facts.step_noun, " had completed: it died in the ", Where(oom), ".");
  const Timeline& t = *facts.timeline;
  const bool stepped =
      std::any_of(t.steps.begin(), t.steps.end(), [](const Step& step) { return step.optimizer != 0; });
  if (!stepped && t.lost_steps == 0)
    return absl::StrCat("It died after ", Count(facts.steps, facts.step_noun), ", before any optimizer had stepped.");
  return absl::StrCat("It died in iteration ", facts.steps + 1,
                      ", the first that runs with the optimizer's state in memory: no whole iteration had completed "
                      "since then.");
}

void AddKept(const Facts& facts, const KeptOutputs& kept, Pattern& p) {
  if (!kept.found) return;
  const Timeline& t = *facts.timeline;
  const Tensor& example = t.tensors[kept.example];
  p.evidence.push_back(absl::StrCat("The evaluation kept ", Count(kept.count, "tensor"), " like ",
                                    Described(t.layouts[example.layout], example.bytes), " on the GPU, ",
                                    Bytes(kept.per_batch), " more with each batch: ", Bytes(kept.bytes), " so far.",
                                    kept.joining ? " It died joining them, which needs as much again." : ""));
}

// What cannot be seen on the device: how much of a model was still to come.
void AddMove(const OutOfMemory& oom, Pattern& p) {
  if (oom.move.left <= 0) return;
  p.evidence.push_back(absl::StrCat("It died while a model was put on the device: ", Bytes(oom.move.arrived),
                                    " of its parameters and buffers were there, ", Bytes(oom.move.left),
                                    " more (in the dtype that they have now) were still to come",
                                    oom.move.trainable == 0 ? ". None of it requires gradients." : "."));
}

Pattern EarlyDeath(const Facts& facts, const KeptOutputs& kept) {
  const OutOfMemory& oom = *facts.oom;
  const Timeline& t = *facts.timeline;
  Pattern p;
  if (!IsTraining(oom.phase) && oom.time < t.first_training_forward) {
    p.name = "at_start";
    p.confidence = 0.97;
    p.evidence.push_back(oom.phase == PhaseKind::kEvaluation
                             ? "It died in an evaluation that ran before any training: no training forward had begun."
                             : "It died before the first training forward, while the program was setting up.");
  } else {
    p.name = "first_batch";
    p.confidence = 0.95;
    p.evidence.push_back(FirstBatch(facts, oom));
  }
  AddKept(facts, kept, p);
  AddMove(oom, p);
  const States states = CompleteStates(facts);
  if (states.run_only) {
    // Of a model that dies on its way to the card, what is there and the parameter that did not fit are a lower bound.
    const bool moving = facts.oom->phase == PhaseKind::kSetUp && 10 * states.parameters >= 9 * facts.need();
    if (moving || states.if_trained() > facts.available()) {
      p.evidence.push_back(absl::StrCat(
          moving ? absl::StrCat("The model's parameters alone are more than this process can have (",
                                Bytes(facts.available()), "): ", Bytes(states.parameters),
                                " of them were on the card when the next ", Bytes(facts.refused), " did not fit. ")
                 : "",
          "No optimizer, backward pass or training forward was seen: the program may only run the model. If it is "
          "trained, gradients (",
          Bytes(states.gradients), ") and, with AdamW, state (", Bytes(states.optimizer),
          ") for what was on the card so far come on top of the parameters."));
    }
  } else if (states.total() > facts.available()) {
    p.evidence.push_back(absl::StrCat("No batch size helps: parameters (", Bytes(states.parameters), "), gradients (",
                                      Bytes(states.gradients), ") and ",
                                      states.optimizer_known ? states.optimizer_type : "an AdamW optimizer's",
                                      " state (", Bytes(states.optimizer), ") alone need ", Bytes(states.total()),
                                      "; this process can have ", Bytes(facts.available()), ".",
                                      states.optimizer_known ? ""
                                                             : " No optimizer was seen: it is what training with AdamW "
                                                               "would need of what was on the card so far."));
  }
  AddRequest(facts, p);
  return p;
}

Pattern EvaluationDeath(const Facts& facts, const KeptOutputs& kept, int64_t training_peak) {
  Pattern p{"eval_spike", facts.steady ? 0.93 : 0.75, {}};
  p.evidence.push_back(absl::StrCat("It died in evaluation after ", Count(facts.steps, "training step"), " had run."));
  p.evidence.push_back(absl::StrCat("Evaluation needed ", Bytes(facts.need()),
                                    " in tensors; training never needed more than ", Bytes(training_peak), "."));
  AddKept(facts, kept, p);
  AddRequest(facts, p);
  return p;
}

Pattern Fragmented(const Facts& facts, int64_t earlier_peak) {
  Pattern p{"fragmentation", facts.need() <= earlier_peak ? 0.92 : 0.75, {}};
  p.evidence.push_back(absl::StrCat(Bytes(facts.unallocated()),
                                    " were reserved by PyTorch but unallocated, more than the ", Bytes(facts.refused),
                                    " asked for, only in no piece large enough."));
  p.evidence.push_back(absl::StrCat("With the request, tensors come to ", Bytes(facts.need()),
                                    "; earlier they had reached ", Bytes(earlier_peak), "."));
  return p;
}

Pattern OutlierBatch(const Facts& facts, const Outlier& outlier) {
  Pattern p{"batch_outlier", outlier.ratio >= 1.3 ? 0.93 : 0.8, {}};
  p.evidence.push_back(absl::StrFormat(
      "The batch in work made tensors %.2f times as large as any batch before it did at the same lines.",
      outlier.ratio));
  if (!outlier.input.empty()) {
    p.evidence.push_back(
        absl::StrCat("Its input is ", outlier.input, "; the largest before was ", outlier.input_before, "."));
  }
  AddRequest(facts, p);
  return p;
}

Pattern LateDeath(const Facts& facts, int64_t earlier_peak) {
  const Timeline& t = *facts.timeline;
  const NewlyMade made = FindNewlyMade(facts);
  const int64_t excess = facts.need() - earlier_peak;
  Pattern p{"late_allocation", made.bytes > 0 && 2 * made.bytes >= excess ? 0.8 : 0.45, {}};
  p.evidence.push_back(absl::StrCat("Training had been stable for ", Count(facts.steps, facts.step_noun),
                                    ", with at most ", Bytes(earlier_peak), " in tensors; now it needs ",
                                    Bytes(facts.need()), "."));
  if (made.example >= 0 && 2 * made.statement >= made.bytes) {
    p.evidence.push_back(absl::StrCat(Count(made.count, "tensor"), " of ", Bytes(made.statement), " in all ",
                                      made.count == 1 ? "was" : "were", " made at ",
                                      ShortSite(SiteOf(t, t.tensors[static_cast<size_t>(made.example)].stack)),
                                      ", which had not run before."));
  } else if (made.refused && 2 * facts.refused >= made.bytes) {
    p.evidence.push_back(absl::StrCat("The ", Bytes(facts.refused), " were asked for at ",
                                      ShortSite(SiteOf(t, facts.oom->stack)), ", which had not run before."));
  } else if (made.bytes > 0) {
    p.evidence.push_back(absl::StrCat(Bytes(made.bytes), " of that were made by lines that had not run before."));
  }
  AddRequest(facts, p);
  return p;
}

Pattern Healthy(const Facts& facts, const Leak& leak) {
  const Timeline& t = *facts.timeline;
  if (SaysNothing(t)) {
    return {
        "healthy",
        0,
        {"The trace holds no events, or has lost more of them than it holds: whether an allocation failed is not in "
         "it. Usual reasons are a disk or quota that was full, or a killed job; record again with OOMTRACE_DIR in a "
         "folder with more room (and OOMTRACE_BUDGET for less of it)."}};
  }
  Pattern p{"healthy", !t.damage.empty() ? 0.5 : t.dropped == 0 ? 0.97 : EndMayBeLost(t) ? 0.3 : 0.8, {}};
  if (EndMayBeLost(t)) {
    p.evidence.push_back(absl::StrCat("The trace lost ", Count(t.dropped, "event"),
                                      ", those of the end among them if its disk was full: whether the program ran out "
                                      "of memory after what is recorded cannot be known from it."));
  }
  const int64_t margin = facts.WithinLimit(facts.device.total() - facts.device.context() -
                                           facts.device.other_processes() - facts.device.other()) -
                         facts.peak_reserved;
  p.evidence.push_back(absl::StrCat(
      facts.survived_refusals > 0 ? "No refused allocation ended the process in " : "No allocation failed in ",
      Count(facts.steps, facts.step_noun), "."));
  p.evidence.push_back(absl::StrCat("Tensors peaked at ", Bytes(facts.peak), " and PyTorch reserved at most ",
                                    Bytes(facts.peak_reserved), ", which left ", Bytes(margin), " of the device."));
  if (facts.survived_refusals > 0) {
    p.evidence.push_back(absl::StrCat(Count(facts.survived_refusals, "allocation"),
                                      " failed, and the process went on; a thread may have ended of it."));
  }
  if (leak.found && leak.boundaries_are_steps) {
    p.evidence.push_back(absl::StrCat("Warning: memory held at the end of each step grows by ",
                                      Bytes(static_cast<int64_t>(leak.bytes_per_boundary)), " a step, since step ",
                                      leak.since + 1, "."));
  }
  return p;
}

}  // namespace

bool EndMayBeLost(const Timeline& timeline) { return timeline.dropped > 0 && !timeline.exited; }

double MostConfidence(const Timeline& timeline) {
  if (timeline.recycled_chunks == 0 && timeline.dropped * kFewLost <= timeline.events) return 1;
  return timeline.dropped > timeline.events / 2 ? 0.4 : 0.6;
}

bool SaysNothing(const Timeline& timeline) {
  return timeline.events == 0 ? timeline.tensors.empty() && timeline.device_allocations.empty()
                              : timeline.dropped > timeline.events;
}

Outlier CompareWithEarlierBatches(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  Outlier outlier;
  if (!facts.oom) return outlier;
  const auto in_work = [&](const Tensor& tensor) {
    return tensor.step == facts.oom->step && tensor.micro_batch == facts.oom->micro_batch;
  };
  struct Largest {
    int64_t bytes = 0;
    uint32_t layout = 0;
  };
  // A layer called from another place is the same line; what is outside of the model is not.
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> lines;
  std::vector<uint32_t> line_of(t.stacks.size());
  for (uint32_t i = 0; i < t.stacks.size(); ++i) {
    const Stack& stack = t.stacks[i];
    const bool in_model = stack.module != 0 && !stack.frames.empty();
    line_of[i] = in_model ? lines.try_emplace({stack.module, stack.frames.front()}, i).first->second : i;
  }
  std::map<uint32_t, Largest> before;
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > facts.moment) break;
    if (tensor.device != t.device || in_work(tensor) || tensor.layout == 0) continue;
    Largest& largest = before[line_of[tensor.stack]];
    if (tensor.bytes > largest.bytes) largest = {tensor.bytes, tensor.layout};
  }
  std::map<uint32_t, Largest> now;
  Largest input;
  Frame input_site;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (!in_work(tensor) || tensor.stack == 0 || tensor.layout == 0 || !before.contains(line_of[tensor.stack]))
      continue;
    if (tensor.category == Category::kParameter || tensor.category == Category::kSecondCopy ||
        tensor.category == Category::kOptimizerState) {
      continue;
    }
    const uint32_t line = line_of[tensor.stack];
    Largest& largest = now[line];
    if (tensor.bytes > largest.bytes) largest = {tensor.bytes, tensor.layout};
    if (tensor.category == Category::kInput && tensor.bytes > input.bytes && tensor.bytes > before[line].bytes) {
      input = {tensor.bytes, tensor.layout};
      outlier.input =
          absl::StrCat(Described(t.layouts[tensor.layout], tensor.bytes), " at ", ShortSite(SiteOf(t, tensor.stack)));
      const Layout& layout_before = t.layouts[before[line].layout];
      outlier.input_before = layout_before.has_shape() ? Shape(layout_before.shape, "") : Bytes(before[line].bytes);
    }
  }
  if (before.contains(line_of[facts.oom->stack]) && facts.oom->layout != 0) {
    Largest& largest = now[line_of[facts.oom->stack]];
    largest.bytes = std::max(largest.bytes, facts.refused);
  }
  double here = 0, earlier = 0;
  for (const auto& [stack, largest] : now) {
    here += static_cast<double>(largest.bytes);
    earlier += static_cast<double>(before[stack].bytes);
  }
  outlier.ratio = earlier > 0 ? here / earlier : 0;
  return outlier;
}

Pattern DecidePattern(const Facts& facts, const Leak& leak, const KeptOutputs& kept) {
  if (!facts.oom) return Healthy(facts, leak);
  const Timeline& t = *facts.timeline;
  const bool evaluation = facts.oom->phase == PhaseKind::kEvaluation && !EvaluatesInEachStep(facts);
  const bool trained = facts.oom->time >= t.first_training_forward || IsTraining(facts.oom->phase);
  if (OthersDecide(facts)) {
    Pattern p{"other_process", 0.9, {}};
    p.evidence.push_back(absl::StrCat(
        "Other processes hold ", Bytes(facts.device.other_processes()), " of the card's ", Bytes(facts.device.total()),
        "; this one asked for ",
        Bytes(facts.device.total() - facts.device.free() - facts.device.other_processes() + facts.requested),
        " in all."));
    if (facts.without_context) {
      p.evidence.emplace_back(kWithoutContext);
    } else {
      AddRequest(facts, p);
    }
    return p;
  }
  if (LeakExplainsDeath(facts, leak)) return LeakPattern(facts, leak);
  int64_t training_peak = 0;
  for (const PhaseKind phase : {PhaseKind::kForward, PhaseKind::kBackward, PhaseKind::kOptimizerStep}) {
    training_peak = std::max(training_peak, PeakInPhase(t, phase, 0, facts.oom->time));
  }
  if (evaluation && trained && facts.steps > 0 && facts.need() > training_peak)
    return EvaluationDeath(facts, kept, training_peak);
  if (!facts.steady) return EarlyDeath(facts, kept);
  const int64_t earlier_peak = PeakBetween(t, 0, t.steps.empty() ? 0 : t.steps.back().end);
  const Outlier outlier = CompareWithEarlierBatches(facts);
  if (outlier.ratio >= 1.1 && !evaluation && facts.need() > training_peak) return OutlierBatch(facts, outlier);
  if (OthersGrew(facts, earlier_peak)) {
    Pattern p{"other_process", 0.85, {}};
    p.evidence.push_back(absl::StrCat("This process needed ", Bytes(facts.need()), ", no more than the ",
                                      Bytes(earlier_peak), " that it had been given before; other processes now hold ",
                                      Bytes(facts.device.other_processes()), "."));
    AddRequest(facts, p);
    return p;
  }
  // A need far above any before, of which the idle cache is the smaller part, or of which lines that had never run
  // account for most, is what is new: without it the state of the cache had done no harm.
  const int64_t excess = facts.need() - earlier_peak;
  const bool grown = excess > facts.unallocated() && 4 * excess > earlier_peak;
  const bool is_new = !evaluation && excess > 0 && (grown || 2 * FindNewlyMade(facts).bytes >= excess);
  if (facts.oom->from_caching_allocator && facts.unallocated() >= facts.refused && !is_new)
    return Fragmented(facts, earlier_peak);
  if (evaluation) return EvaluationDeath(facts, kept, training_peak);
  return LateDeath(facts, earlier_peak);
}

}  // namespace oomtrace
