#include "analyzer/diagnose/gpu_use.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

constexpr size_t kTensorsReported = 64;

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

// Not used again: it was freed, or the program died, while a window still watched.
bool Idle(const GpuTime& gpu, const Tensor& tensor, const TensorUse& use, int64_t moment, int64_t end) {
  return use.last < moment && InWindow(gpu, std::min(tensor.died, end));
}

report::TensorTime Describe(const Timeline& t, const Tensor& tensor, const TensorUse* use) {
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
  if (use == nullptr) return out;
  out.set_uses(use->uses);
  out.set_last_kernel(use->last_kernel);
  const Frame site = SiteOf(t, use->last_stack);
  if (!site.file.empty()) out.set_last_site(ShortSite(site));
  return out;
}

void FillTensors(const Facts& facts, report::GpuTime& out) {
  const Timeline& t = *facts.timeline;
  const GpuTime& gpu = t.gpu_time;
  const int64_t moment = MomentOf(facts);
  const int64_t end = facts.oom != nullptr ? facts.oom->time : t.end;
  out.set_moment_ns(moment);
  std::vector<report::TensorTime> tensors;
  int64_t idle_bytes = 0;
  int64_t unused_bytes = 0;
  for (const size_t index : LiveTensors(t, t.device, moment)) {
    const Tensor& tensor = t.tensors[index];
    const auto found = gpu.uses.find(static_cast<int64_t>(index));
    const TensorUse* use = found == gpu.uses.end() ? nullptr : &found->second;
    if (use == nullptr) unused_bytes += tensor.bytes;
    report::TensorTime line = Describe(t, tensor, use);
    line.set_idle(use != nullptr && Idle(gpu, tensor, *use, moment, end));
    if (line.idle()) idle_bytes += tensor.bytes;
    tensors.push_back(std::move(line));
  }
  std::sort(tensors.begin(), tensors.end(), [](const report::TensorTime& a, const report::TensorTime& b) {
    return a.bytes() != b.bytes() ? a.bytes() > b.bytes() : a.allocated_ns() < b.allocated_ns();
  });
  if (tensors.size() > kTensorsReported) tensors.resize(kTensorsReported);
  for (report::TensorTime& tensor : tensors) *out.add_tensors() = std::move(tensor);
  out.set_idle_bytes(idle_bytes);
  out.set_unused_bytes(unused_bytes);
}

std::string State(const report::GpuTime& out, const GpuTime& gpu) {
  if (gpu.changes.empty()) return "";
  if (out.recorded()) {
    return absl::StrFormat(
        "%d kernels, %d copies and %d fills in %.2f s of windows; the GPU was busy for %.0f %% of it.", out.kernels(),
        out.copies(), out.fills(), out.seconds(), 100 * out.busy_share());
  }
  const CollectorChange& last = gpu.changes.back();
  if (last.state == trace::CollectorState::OFF) return absl::StrCat("Not recorded: ", last.reason, ".");
  return "CUPTI watched memory only; --timeline records what the GPU runs.";
}

void AddNotes(const GpuTime& gpu, report::GpuTime& out) {
  if (gpu.unknown_parameters > 0) {
    out.add_notes(absl::StrCat("Of ", Count(gpu.kernels, "kernel"), " ", gpu.unknown_parameters,
                               " were launched by code that no hook saw, or their parameters cannot be read (",
                               gpu.graph_kernels, " ran from CUDA graphs): uses of tensors may be missing."));
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
  for (const UnseenAllocation& unseen : gpu.unseen) {
    report::UnseenMemory* line = out.add_unseen();
    line->set_library(unseen.source);
    line->set_bytes(unseen.bytes);
    line->set_live(unseen.live);
    line->set_allocations(unseen.count);
  }
  if (!gpu.windows.empty()) FillTensors(facts, out);
  out.set_state(State(out, gpu));
  AddNotes(gpu, out);
}

}  // namespace oomtrace
