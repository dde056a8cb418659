#include "analyzer/diagnose/gpu_use.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

constexpr size_t kTensorsReported = 64;
constexpr size_t kDormantReported = 8;
constexpr int64_t kSmallest = 1000;  // a tensor of less than the live bytes divided by this is not worth a line

bool InWindow(const GpuTime& gpu, int64_t time) {
  return std::any_of(gpu.windows.begin(), gpu.windows.end(),
                     [time](const GpuTime::Window& w) { return w.begin <= time && time <= w.end; });
}

// The report's own moment where a window covers it, else the highest that one covers.
int64_t MomentOf(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  if (InWindow(t.gpu_time, facts.moment)) return facts.moment;
  int64_t highest = -1;
  int64_t moment = t.gpu_time.windows.front().begin;
  for (const Sample& sample : t.samples) {
    if (sample.tensors > highest && InWindow(t.gpu_time, sample.time)) {
      highest = sample.tensors;
      moment = sample.time;
    }
  }
  return moment;
}

std::string NameOf(const Timeline& t, const Tensor& tensor) {
  const std::string name = tensor.name;
  if (!name.empty()) return name;
  const std::string module = tensor.module;
  const Frame site = SiteOf(t, tensor.stack);
  const std::string where = site.file.empty() ? "" : ShortSite(site);
  if (module.empty()) return where;
  return where.empty() ? module : absl::StrCat(module, " (", where, ")");
}

// Used before, and freed while the GPU went on working: what is freed at the end might have been used again. Past its
// last use no kernel ran of which it is not known what it uses; when such a one was launched is not known either, and
// it may run long after a free that came after its launch.
bool Idle(const GpuTime& gpu, const Tensor& tensor, const TensorUse& use, int64_t moment) {
  return use.last < moment && tensor.died <= gpu.last_work && InWindow(gpu, tensor.died) &&
         gpu.last_unknown < use.last_launch;
}

// From the last use to the free, at a death to the refusal.
int64_t Unused(const Facts& facts, const Tensor& tensor, const TensorUse& use) {
  const int64_t end = facts.oom != nullptr ? std::min(tensor.died, facts.oom->time) : tensor.died;
  return end == kNever ? -1 : std::max<int64_t>(0, end - use.last);
}

report::TensorTime Describe(const Facts& facts, const Tensor& tensor, const TensorUse* use) {
  const Timeline& t = *facts.timeline;
  report::TensorTime out;
  out.set_name(NameOf(t, tensor));
  out.set_category(CategoryName(tensor.category));
  out.mutable_shape()->Assign(t.layouts[tensor.layout].shape.begin(), t.layouts[tensor.layout].shape.end());
  out.set_dtype(t.layouts[tensor.layout].dtype);
  out.set_bytes(tensor.bytes);
  out.set_allocated_ns(tensor.born);
  out.set_first_use_ns(use != nullptr ? use->first : -1);
  out.set_last_use_ns(use != nullptr ? use->last : -1);
  out.set_freed_ns(tensor.died == kNever ? -1 : tensor.died);
  out.set_unused_ns(use != nullptr ? Unused(facts, tensor, *use) : -1);
  if (use == nullptr) return out;
  out.set_uses(use->uses);
  out.set_last_kernel(use->last_kernel);
  out.set_last_phase(PhaseName(PhaseAt(t, use->last_launch)));
  const Frame site = SiteOf(t, use->last_stack);
  if (!site.file.empty()) out.set_last_site(ShortSite(site));
  return out;
}

bool Larger(const report::TensorTime& a, const report::TensorTime& b) {
  return a.bytes() != b.bytes() ? a.bytes() > b.bytes() : a.allocated_ns() < b.allocated_ns();
}

// Bytes times how long nobody used them.
bool UnusedMore(const report::TensorTime& a, const report::TensorTime& b) {
  const auto weight = [](const report::TensorTime& tensor) {
    return static_cast<double>(tensor.bytes()) * static_cast<double>(tensor.unused_ns());
  };
  return weight(a) > weight(b);
}

void Keep(size_t most, google::protobuf::RepeatedPtrField<report::TensorTime>* tensors) {
  if (static_cast<size_t>(tensors->size()) > most)
    tensors->DeleteSubrange(static_cast<int>(most), tensors->size() - static_cast<int>(most));
}

// At a death all that can be said is how long a tensor was not used: what comes next, nobody saw.
void FindDormant(const Facts& facts, const std::vector<report::TensorTime>& tensors, report::GpuTime& out) {
  const GpuTime& gpu = facts.timeline->gpu_time;
  const bool death = facts.oom != nullptr && out.moment_ns() == facts.moment;
  int64_t live = 0;
  for (const report::TensorTime& tensor : tensors) live += tensor.bytes();
  for (const report::TensorTime& tensor : tensors) {
    if (tensor.bytes() < live / kSmallest) continue;
    if (death ? tensor.unused_ns() > 0 : tensor.idle()) *out.add_dormant() = tensor;
  }
  if (out.dormant().empty()) return;
  std::sort(out.mutable_dormant()->begin(), out.mutable_dormant()->end(), death ? UnusedMore : Larger);
  Keep(kDormantReported, out.mutable_dormant());
  const char* when = out.moment_ns() == facts.moment ? "at the peak" : "at the fullest moment of the windows";
  if (death) {
    out.set_finding(absl::StrCat("Unused for longest when memory ran out, by bytes times time",
                                 gpu.unknown_parameters == 0 ? ":" : ", as far as is known:"));
    return;
  }
  out.set_finding(absl::StrCat(Bytes(out.idle_bytes()), " lay idle ", when,
                               ": used before it, and freed after it without another use. The largest:"));
}

void FillTensors(const Facts& facts, report::GpuTime& out) {
  const Timeline& t = *facts.timeline;
  const GpuTime& gpu = t.gpu_time;
  const int64_t moment = MomentOf(facts);
  out.set_moment_ns(moment);
  std::vector<report::TensorTime> tensors;
  int64_t idle_bytes = 0;
  int64_t unused_bytes = 0;
  for (const size_t index : LiveTensors(t, t.device, moment)) {
    const Tensor& tensor = t.tensors[index];
    const auto found = gpu.uses.find(static_cast<int64_t>(index));
    const TensorUse* use = found == gpu.uses.end() ? nullptr : &found->second;
    if (use == nullptr) unused_bytes += tensor.bytes;
    tensors.push_back(Describe(facts, tensor, use));
    tensors.back().set_idle(use != nullptr && Idle(gpu, tensor, *use, moment));
    if (tensors.back().idle()) idle_bytes += tensor.bytes;
  }
  out.set_idle_bytes(idle_bytes);
  out.set_unused_bytes(unused_bytes);
  FindDormant(facts, tensors, out);
  std::sort(tensors.begin(), tensors.end(), Larger);
  if (tensors.size() > kTensorsReported) tensors.resize(kTensorsReported);
  for (report::TensorTime& tensor : tensors) *out.add_tensors() = std::move(tensor);
}

std::string Busy(double share) {
  return share > 0 && share < 0.01 ? "less than 1 %" : absl::StrFormat("%.0f %%", 100 * share);
}

// "50-60", as the user wrote it; "": no range was asked for.
std::string StepsAskedFor(const Timeline& t) {
  const std::string asked = EnvironmentVariable(t, "OOMTRACE_TIMELINE").value_or("");
  return absl::StrContains(asked, '-') ? asked : "";
}

std::string State(const report::GpuTime& out, const Facts& facts) {
  const Timeline& t = *facts.timeline;
  const GpuTime& gpu = t.gpu_time;
  if (gpu.changes.empty()) return "";
  if (out.recorded()) {
    return absl::StrFormat("%s, %s and %s in %.2f s of windows; the GPU was busy for %s of it.",
                           Count(out.kernels(), "kernel"),
                           out.copies() == 1 ? "1 copy" : absl::StrCat(out.copies(), " copies"),
                           Count(out.fills(), "fill"), out.seconds(), Busy(out.busy_share()));
  }
  const CollectorChange& last = gpu.changes.back();
  if (last.state == trace::CollectorState::OFF) return absl::StrCat("Not recorded: ", last.reason, ".");
  if (const std::string asked = StepsAskedFor(t); !asked.empty())
    return absl::StrCat("No window was opened: the timeline was asked for steps ", asked, ", and the job ended after ",
                        Count(facts.steps, "optimizer step"), ". CUPTI watched memory only.");
  return "CUPTI watched memory only; --timeline records what the GPU runs.";
}

// What CUPTI's account of allocations says of the hooks.
std::string AuditOf(const GpuTime& gpu) {
  if (gpu.audited_count == 0 && gpu.unlisted_bytes == 0 && gpu.unwatched_bytes == 0) return "";
  int64_t missed = 0;
  int64_t count = 0;
  for (const UnseenAllocation& source : gpu.unseen) {
    missed += source.bytes;
    count += source.count;
  }
  std::string text;
  if (gpu.unlisted_bytes > 0) {
    text = absl::StrCat("The hooks saw ", Bytes(gpu.unlisted_bytes),
                        " that CUPTI does not list: memory that is mapped into address ranges, or held by graphs. ");
  }
  if (gpu.unwatched_bytes > 0) {
    absl::StrAppend(&text, Bytes(gpu.unwatched_bytes),
                    " were allocated while another profiler had CUPTI: the hooks alone saw them. ");
  }
  absl::StrAppend(&text, "CUPTI saw ", Count(gpu.audited_count, "device allocation"), " of ", Bytes(gpu.audited_bytes),
                  " in all; ");
  if (count == 0) return absl::StrCat(text, "the hooks missed none of them.");
  return absl::StrCat(text, "the hooks missed ", count, " of ", Bytes(missed), ", made by code that goes past them:");
}

void AddNotes(const GpuTime& gpu, bool simulated, report::GpuTime& out) {
  if (simulated && out.recorded())
    out.add_notes("The GPU is simulated: in which order work ran is true, how long it took is made up.");
  if (gpu.unknown_parameters > 0) {
    out.add_notes(absl::StrCat("Of ", Count(gpu.kernels, "kernel"), " ", gpu.unknown_parameters,
                               " were launched by code that no hook saw, or their parameters cannot be read (",
                               gpu.graph_kernels, " ran from CUDA graphs): what they use is not known."));
  }
  if (gpu.untimed > 0) out.add_notes(absl::StrCat(gpu.untimed, " kernels have no time: CUPTI had no buffer left."));
  if (gpu.dropped > 0) out.add_notes(absl::StrCat("CUPTI dropped ", Count(gpu.dropped, "record"), "."));
  int64_t yielded = -1;
  for (const CollectorChange& change : gpu.changes) {
    if (change.state == trace::CollectorState::YIELDED) {
      yielded = change.time;
    } else if (yielded >= 0) {
      out.add_notes(absl::StrFormat("From %.1f ms to %.1f ms another profiler had CUPTI: nothing is known of then.",
                                    static_cast<double>(yielded) / 1e6, static_cast<double>(change.time) / 1e6));
      yielded = -1;
    }
  }
  if (yielded >= 0)
    out.add_notes(absl::StrFormat("From %.1f ms on another profiler had CUPTI.", static_cast<double>(yielded) / 1e6));
  if (gpu.device_bytes > 0)
    out.add_notes(absl::StrCat("CUPTI itself may hold up to ", Bytes(gpu.device_bytes),
                               " on the device; they stand under the CUDA context."));
}

}  // namespace

void FillGpuTime(const Facts& facts, report::GpuTime& out) {
  const GpuTime& gpu = facts.timeline->gpu_time;
  int64_t covered = 0;
  for (const GpuTime::Window& window : gpu.windows) covered += window.end - window.begin;
  out.set_recorded(!gpu.windows.empty());
  out.set_seconds(static_cast<double>(covered) / 1e9);
  out.set_kernels(gpu.kernels);
  out.set_copies(gpu.copies);
  out.set_fills(gpu.fills);
  out.set_busy_share(covered > 0 ? std::min(1.0, static_cast<double>(gpu.busy) / static_cast<double>(covered)) : 0);
  out.set_unknown_parameters(gpu.unknown_parameters);
  out.set_graph_kernels(gpu.graph_kernels);
  out.set_cupti_device_bytes(gpu.device_bytes);
  out.set_cupti_host_bytes(gpu.host_bytes);
  out.set_module_bytes(gpu.module_bytes);
  out.set_local_memory(gpu.local_memory);
  out.set_audited_bytes(gpu.audited_bytes);
  out.set_audited_allocations(gpu.audited_count);
  out.set_unlisted_bytes(gpu.unlisted_bytes);
  out.set_audit(AuditOf(gpu));
  for (const UnseenAllocation& unseen : gpu.unseen) {
    report::UnseenMemory* line = out.add_unseen();
    line->set_library(unseen.source);
    line->set_bytes(unseen.bytes);
    line->set_live(unseen.live);
    line->set_allocations(unseen.count);
  }
  if (!gpu.windows.empty()) FillTensors(facts, out);
  out.set_state(State(out, facts));
  AddNotes(gpu, facts.timeline->process.simulated, out);
}

}  // namespace oomtrace
