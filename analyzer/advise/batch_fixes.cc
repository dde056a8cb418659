#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Every torch from 2.0 on reads this spelling; PYTORCH_ALLOC_CONF, its successor, is unknown before 2.10.
constexpr char kExpandable[] = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
// Share of the card below which room is called tight (analyzer/render/text.cc).
constexpr double kTight = 0.03;

// The flag that sets the micro-batch which the run had; nullptr: the command line has none.
const Flag* BatchFlag(const Advisor& a) {
  return a.flags().batch && a.flags().batch->value == a.predictor().batch().size ? &*a.flags().batch : nullptr;
}

// Micro-batches that the command line says make a step; 1 where it does not say.
int64_t Accumulation(const Advisor& a) {
  return BatchFlag(a) != nullptr && a.flags().accumulation ? a.flags().accumulation->value : 1;
}

// Micro-batches below the recorded one that divide the effective batch, largest first.
std::vector<int64_t> SmallerBatches(const Advisor& a) {
  const int64_t batch = a.predictor().batch().size;
  const int64_t total = batch * Accumulation(a);
  std::vector<int64_t> sizes;
  for (int64_t size = batch - 1; size >= 1; --size) {
    if (total % size == 0) sizes.push_back(size);
  }
  return sizes;
}

std::string InputPlace(const Advisor& a) {
  for (auto it = a.t().tensors.rbegin(); it != a.t().tensors.rend(); ++it) {
    if (it->born <= a.facts().moment && it->category == Category::kInput && it->stack != 0) {
      return absl::StrCat(" (the batch arrives at ", ShortSite(SiteOf(a.t(), it->stack)), ")");
    }
  }
  return "";
}

// How to get the micro-batch `size`, with the effective batch unchanged.
std::string BatchChange(const Advisor& a, int64_t size) {
  const int64_t batch = a.predictor().batch().size;
  const int64_t factor = batch / size;
  const Flag* flag = BatchFlag(a);
  if (flag != nullptr && a.flags().accumulation) {
    return absl::StrCat("run with ", flag->With(size), " ",
                        a.flags().accumulation->With(Accumulation(a) * batch / size));
  }
  if (flag != nullptr && a.flags().total_is_fixed) {
    return absl::StrCat("run with ", flag->With(size), " (the script accumulates ", factor,
                        " times as often for the same total batch)");
  }
  if (flag != nullptr) {
    const bool trainer =
        flag->name.find("per_device") != std::string::npos || flag->name.find("per-device") != std::string::npos;
    if (trainer)
      return absl::StrCat("run with ", flag->With(size), " --gradient_accumulation_steps", flag->separator, factor);
    return absl::StrCat("run with ", flag->With(size), " and accumulate gradients over ", factor,
                        " times as many micro-batches before each optimizer step");
  }
  const int64_t now = a.t().steps.empty() ? 0 : a.t().steps.back().micro_batches;
  return absl::StrCat(
      "make the micro-batch ", size, " instead of ", batch, " and accumulate gradients over ",
      now > 0 ? absl::StrCat(now * factor, " of them (now ", now, ")") : absl::StrCat(factor, " times as many"),
      " before each optimizer step", InputPlace(a));
}

// How the micro-batch is set without an edit: by the flags of the command line, or by what --vary names.
void AddBatchSettings(const Advisor& a, int64_t size, report::Fix& fix) {
  const int64_t batch = a.predictor().batch().size;
  const Flag* flag = BatchFlag(a);
  if (flag != nullptr) AddFlag(fix, *flag, size);
  if (flag != nullptr && a.flags().accumulation) AddFlag(fix, *a.flags().accumulation, Accumulation(a) * batch / size);
  AddSetting(fix, "value", "batch_size", absl::StrCat(size));
  // A script with a total batch accumulates by itself.
  if (flag != nullptr && a.flags().total_is_fixed) return;
  AddSetting(fix, "value", "accumulation", absl::StrCat(Accumulation(a) * batch / size));
}

void AddExpandable(report::Fix& fix) {
  const std::string setting = kExpandable;
  const size_t equals = setting.find('=');
  AddSetting(fix, "environment", setting.substr(0, equals), setting.substr(equals + 1));
}

// Whether anything shows that the program works on batches: a step, a backward, a module's forward, data that came from
// the host. The leading dimension of a matrix alone is none.
bool HasBatches(const Advisor& a) {
  const Timeline& t = a.t();
  if (!t.steps.empty() || !t.backward_passes.empty() || t.stacks[a.facts().oom->stack].module != 0) return true;
  return std::any_of(t.tensors.begin(), t.tensors.end(), [&](const Tensor& tensor) {
    return t.stacks[tensor.stack].module != 0 || (tensor.host_copied && a.predictor().carriers().Carries(tensor));
  });
}

// Where no optimizer and no backward pass was seen, a forward alone may be all that the program does.
std::string PlainBatchChange(const Advisor& a, int64_t size) {
  const int64_t batch = a.predictor().batch().size;
  const Flag* flag = BatchFlag(a);
  return absl::StrCat(flag != nullptr ? absl::StrCat("run with ", flag->With(size))
                                      : absl::StrCat("use batches of ", size, " instead of ", batch, InputPlace(a)),
                      "; if it trains, accumulate gradients over ", Count(batch / size, "batch"), " for each step");
}

// Whether what did not fit was the input of a batch of another size, or as long as one: then the batch that the trace
// shows is the one before.
bool BatchNotSeen(const Advisor& a) {
  const std::vector<int64_t>& input = a.predictor().batch().input;
  const uint32_t layout = a.facts().oom->layout;
  if (layout == 0 || input.size() < 2) return false;
  const std::vector<int64_t>& refused = a.t().layouts[layout].shape;
  return refused.size() == input.size() && refused[0] > input[0] &&
         std::equal(refused.begin() + 1, refused.end(), input.begin() + 1);
}

}  // namespace

void BoundBatch(Advisor& a) {
  int64_t before = 0;
  for (const Step& step : a.t().steps) before = std::max(before, step.peak);
  const Prediction p = a.predictor().Of(before, a.predictor().expandable_recorded());
  Prediction seen = p;
  // It ran with this peak until now.
  seen.reserved = std::max(before, std::min(p.reserved, a.facts().peak_reserved));
  seen.headroom = a.predictor().capacity() - seen.reserved;
  seen.fits = true;
  const std::vector<int64_t>& shape =
      BatchNotSeen(a) ? a.t().layouts[a.facts().oom->layout].shape : a.predictor().batch().input;
  const std::string input = shape.empty() ? std::string() : absl::StrCat(" (this one had ", Shape(shape, ""), ")");
  a.Add("bound_batch", "Limit the largest batch",
        absl::StrCat("truncate or bucket the samples so that no batch exceeds those that fitted", input,
                     ", or form batches by a limit of tokens"),
        seen, "long samples are cut");
}

void ShrinkMicroBatch(Advisor& a) {
  const int64_t batch = a.predictor().batch().size;
  if (batch <= 1 || !HasBatches(a) || BatchNotSeen(a)) return;
  const bool expandable = a.predictor().expandable_recorded();
  int64_t plain = 0;
  const std::vector<int64_t> sizes = SmallerBatches(a);
  // From an evaluation alone nobody has seen what training keeps.
  const bool unseen = a.facts().oom->phase == PhaseKind::kEvaluation && a.t().first_training_forward > a.facts().moment;
  const auto price = [&](int64_t size) {
    return absl::StrCat(unseen ? "training itself was never seen, its need is bounded from the evaluation; " : "",
                        batch % size == 0
                            ? absl::StrCat(batch / size)
                            : absl::StrFormat("%.1f", static_cast<double>(batch) / static_cast<double>(size)),
                        " times as many, smaller kernels");
  };
  for (const int64_t size : sizes) {
    const Prediction p = a.predictor().Training(size, expandable);
    if (!p.fits && size != sizes.back()) continue;
    AddBatchSettings(a, size,
                     a.Add("micro_batch", absl::StrCat("Micro-batch ", size),
                           TrainingSeen(a.facts()) ? BatchChange(a, size) : PlainBatchChange(a, size), p, price(size)));
    plain = size;
    break;
  }
  if (!a.KnowsAllocator() || expandable || a.predictor().Training(batch, true).fits) return;
  for (const int64_t size : sizes) {
    if (size <= plain) break;
    const Prediction p = a.predictor().Training(size, true);
    if (!p.fits) continue;
    report::Fix& fix =
        a.Add("micro_batch_expandable_segments", absl::StrCat("Micro-batch ", size, " with expandable segments"),
              absl::StrCat("set ", kExpandable, " and ", BatchChange(a, size)), p, price(size));
    AddExpandable(fix);
    AddBatchSettings(a, size, fix);
    break;
  }
}

void GrowSegments(Advisor& a) {
  if (!a.KnowsAllocator() || a.predictor().expandable_recorded()) return;
  const Prediction p = a.predictor().Training(std::max<int64_t>(a.predictor().batch().size, 1), true);
  const bool much_cache = a.Worth(a.facts().device.cache()) && a.Has("fragmentation");
  // No earlier iteration speaks for the one that died: of that, what it did until then is known.
  if (!p.fits && much_cache && !a.predictor().replayable()) {
    const Prediction until = a.predictor().UpToDeathExpandable();
    if (until.fits) {
      report::Fix& fix =
          a.Add("expandable_segments", "Let PyTorch grow its segments",
                absl::StrCat("set ", kExpandable, " in the environment"), until, "none known for one GPU");
      AddExpandable(fix);
      Conditional(fix, absl::StrCat("what it died of is served, with ", Bytes(until.headroom),
                                    " to spare; if the rest of the iteration needs no more than that"));
      return;
    }
  }
  if (!p.fits && !much_cache) return;
  // It changes nothing for what no setting can make smaller.
  if (!much_cache && !a.predictor().replayable()) return;
  report::Fix& fix = a.Add("expandable_segments", "Let PyTorch grow its segments",
                           absl::StrCat("set ", kExpandable, " in the environment"), p,
                           "none known for one GPU; the code stays as it is");
  AddExpandable(fix);
  // The batch is as large as before: it is served with what is left, and the next that needs a little more is not.
  if (static_cast<double>(p.headroom) < kTight * static_cast<double>(a.facts().device.total()))
    Conditional(fix,
                absl::StrCat("if no later iteration needs ", Bytes(p.headroom), " more than the recorded ones did"));
}

}  // namespace oomtrace
