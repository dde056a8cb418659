#include "analyzer/timeline/queries.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

bool Has(const std::string& text, const char* part) { return absl::StrContains(text, part); }

bool LivesAt(int64_t born, int64_t died, int64_t time) { return born <= time && died > time; }

// PyTorch 2's name for generated code: torch/_inductor/codecache.py, code_hash() and get_path().
bool IsInductorName(std::string_view folder, std::string_view name) {
  constexpr size_t kKey = 1 + 51;  // "c" and the SHA-256 in base32, without its padding
  if (name.size() != kKey + 3 || name.front() != 'c' || name.substr(kKey) != ".py") return false;
  if (folder.size() != 2 || name.substr(1, 2) != folder) return false;
  return std::all_of(name.begin(), name.begin() + kKey,
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'); });
}

// Code from text that a library made: import machinery, torch.fx, attrs, decorator, beartype, SymPy, NumPy, our own;
// and the methods that dataclasses give a class. Other code from text is the user's: python -c, a cell, exec().
bool IsGeneratedCode(const Frame& frame) {
  constexpr std::string_view kLibraries[] = {"<frozen ",       "<eval_with_key>", "<attrs ", "<decorator-gen",
                                             "<@beartype",     "<lambdifygen",    "<__",     "<oomtrace>",
                                             "<torch_package", "<torch."};
  return std::any_of(std::begin(kLibraries), std::end(kLibraries),
                     [&](std::string_view library) { return frame.file.starts_with(library); }) ||
         absl::StartsWith(frame.function, "__create_fn__.");
}

// "<ipython-input-12-0a1b>" and "<ipython-input-13-0a1b>" are one cell, run twice. Files keep their names.
std::string WithoutNumbers(const std::string& file) {
  if (file.empty() || file.front() != '<') return file;
  std::string same;
  for (const char c : file) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit) same += c;
    if (digit && (same.empty() || same.back() != '#')) same += '#';
  }
  return same;
}

bool IsTorchFile(const std::string& file) {
  return absl::StartsWith(file, "<") || Has(file, "-packages/torch/") || Has(file, "-packages/triton/") ||
         IsInductorFile(file);
}

// The wrappers' attribute names: torch.compile, DistributedDataParallel and DataParallel, FSDP, DeepSpeed.
constexpr std::array<std::string_view, 4> kWrappers = {"_orig_mod", "module", "_fsdp_wrapped_module",
                                                       "_forward_module"};

const OutOfMemory* RefusalAt(const Timeline& timeline, int64_t time) {
  for (const OutOfMemory& refusal : timeline.out_of_memory) {
    if (refusal.time == time && refusal.device == timeline.device) return &refusal;
  }
  return nullptr;
}

// What this process has taken from the device in a stretch of time.
struct Taken {
  int64_t bytes = 0;  // negative: given back
  int64_t calls = 0;
};

bool IsMapping(const DeviceAllocation& allocation) { return allocation.kind == MemoryKind::kMapping; }

bool IsOverhead(const DeviceAllocation& allocation) {
  return allocation.kind == MemoryKind::kContext || allocation.kind == MemoryKind::kCode;
}

// Time of the last tensor event at or before `time`, and of the first after it.
std::pair<int64_t, int64_t> SamplesAround(const Timeline& timeline, int64_t time) {
  const auto after = std::upper_bound(timeline.samples.begin(), timeline.samples.end(), time,
                                      [](int64_t at, const Sample& sample) { return at < sample.time; });
  return {after == timeline.samples.begin() ? 0 : std::prev(after)->time,
          after == timeline.samples.end() ? kNever : after->time};
}

// From a reading at `from` (exclusive) up to `time`. An expandable segment grows by creating all its pages first and
// mapping them one by one: a reading amid the mappings already has them all, so the rest of that growth, which no
// tensor event interrupts, is not taken again.
Taken TakenSince(const Timeline& timeline, int64_t from, int64_t time) {
  const auto [begin, end] = SamplesAround(timeline, from);
  bool amid_growth = false;
  Taken taken;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {  // in order of birth
    if (allocation.device != timeline.device || !allocation.on_device) continue;
    if (IsMapping(allocation) && allocation.born > begin && allocation.born <= from) amid_growth = true;
    const bool counted_already =
        amid_growth && IsMapping(allocation) && allocation.born > from && allocation.born < end;
    if (allocation.born > from && allocation.born <= time && !counted_already) {
      taken.bytes += allocation.bytes;
      ++taken.calls;
    }
    if (allocation.died > from && allocation.died <= time) {
      taken.bytes -= allocation.bytes;
      ++taken.calls;
    }
  }
  return taken;
}

// The last at or before `time`; zeros where there is none.
Sample SampleAt(const Timeline& timeline, int64_t time) {
  const auto after = std::upper_bound(timeline.samples.begin(), timeline.samples.end(), time,
                                      [](int64_t at, const Sample& sample) { return at < sample.time; });
  return after == timeline.samples.begin() ? Sample() : *std::prev(after);
}

int64_t ReservedAt(const Timeline& timeline, int64_t time) { return SampleAt(timeline, time).reserved; }

bool LostEvents(const Timeline& timeline) {
  return !timeline.damage.empty() || timeline.dropped > 0 || timeline.recycled_chunks > 0;
}

// Bytes that PyTorch had reserved at `time` in segments whose allocation is not in the trace.
int64_t SegmentsMissing(const Timeline& timeline, int64_t time) {
  int64_t segments = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    const bool counts = allocation.device == timeline.device && allocation.caching_allocator && allocation.on_device;
    if (counts && LivesAt(allocation.born, allocation.died, time)) segments += allocation.bytes;
  }
  return std::max<int64_t>(0, ReservedAt(timeline, time) - segments);
}

int64_t ForeignBytes(const Timeline& timeline) {
  int64_t bytes = 0;
  for (const GpuProcess& process : timeline.gpu_processes) {
    if (!process.self) bytes += process.bytes;
  }
  return bytes;
}

// Of a device that refused the context itself its memory was never read: its size is known, and what others hold.
void SetTotalsUnread(const Timeline& timeline, DeviceUse* use) {
  for (const DeviceInfo& info : timeline.devices) {
    if (info.index != timeline.device || info.total == 0) continue;
    use->total = info.total;
    use->free = std::max<int64_t>(0, info.total - ForeignBytes(timeline));
    use->notes.push_back(
        "how much of the device was free could not be read without a context: it is the device's size, less what the "
        "other processes hold as far as the driver lists them");
  }
}

// A trace with losses may lack the allocation of segments that PyTorch's own count of what it reserved still has.
void SetTotals(const Timeline& timeline, const OutOfMemory* refusal, int64_t time, DeviceUse* use) {
  if (refusal != nullptr && refusal->device_total > 0) {
    use->total = refusal->device_total;
    use->free = refusal->device_free;
    return;
  }
  const MemoryReading *before = nullptr, *after = nullptr;
  for (const MemoryReading& reading : timeline.memory_readings) {
    if (reading.device != timeline.device) continue;
    if (reading.time <= time) before = &reading;
    if (reading.time > time && after == nullptr) after = &reading;
  }
  if (before == nullptr && after == nullptr) {
    if (refusal != nullptr) SetTotalsUnread(timeline, use);
    return;
  }
  const Taken since = before == nullptr ? Taken() : TakenSince(timeline, before->time, time);
  // The reading that follows is as good, where nothing was taken until then.
  const bool use_after =
      before == nullptr || (after != nullptr && since.calls > 0 && TakenSince(timeline, time, after->time).calls == 0);
  const MemoryReading& reading = use_after ? *after : *before;
  use->total = reading.total;
  int64_t taken = use_after ? 0 : since.bytes;
  if (LostEvents(timeline)) {
    const int64_t unseen = SegmentsMissing(timeline, time) - SegmentsMissing(timeline, reading.time);
    if (unseen > 0) {
      taken += unseen;
      use->notes.push_back(absl::StrCat("the trace lost the allocations of ", unseen,
                                        " bytes that PyTorch reserved after the device's memory was last read: the "
                                        "free memory is that reading, less what was reserved since"));
    }
  }
  use->free = std::clamp<int64_t>(reading.free - taken, 0, reading.total);
}

// A part of the whole that gives way, and what it is called.
struct Part {
  int64_t* bytes;
  const char* name;
};

// Takes up to `excess` from a part; returns what is left of the excess.
int64_t TakeFrom(const Part& part, int64_t excess, std::vector<std::string>* reduced) {
  const int64_t taken = std::min(*part.bytes, excess);
  if (taken <= 0) return excess;
  *part.bytes -= taken;
  reduced->push_back(absl::StrCat(part.name, " by ", taken));
  return excess - taken;
}

// The residual is the context. Where the parts exceed the whole, the least certain gives way: `free` as long as it
// leaves no room for what this process holds (unless it was read at this very moment, `free_is_current`), then what
// other processes hold, and tensors last of all.
void Balance(bool free_is_current, DeviceUse* use) {
  if (use->total == 0) return;
  const int64_t own = use->tensors + use->cache + use->other;
  use->context = use->total - use->free - own - use->other_processes;
  if (use->context >= 0) return;
  int64_t excess = -use->context;
  const int64_t whole_excess = excess;
  use->context = 0;
  const Part free = {&use->free, "the free memory"};
  std::vector<std::string> reduced;
  if (!free_is_current) {
    const int64_t stale = std::clamp<int64_t>(own + use->free - use->total, 0, excess);
    excess -= stale - TakeFrom(free, stale, &reduced);
  }
  for (const Part& part : {Part{&use->other_processes, "the other processes' share"},
                           Part{&use->other, "this process's other allocations"}, Part{&use->cache, "PyTorch's cache"},
                           free, Part{&use->tensors, "the tensors"}}) {
    excess = TakeFrom(part, excess, &reduced);
  }
  use->notes.push_back(absl::StrCat(
      "the parts exceed the device by ", whole_excess,
      " bytes, for they were read at different moments; reduced to fit, in bytes: ", absl::StrJoin(reduced, ", ")));
}

}  // namespace

std::vector<size_t> LiveTensors(const Timeline& timeline, int32_t device, int64_t time) {
  std::vector<size_t> live;
  for (size_t i = 0; i < timeline.tensors.size() && timeline.tensors[i].born <= time; ++i) {
    const Tensor& tensor = timeline.tensors[i];
    if (tensor.device == device && LivesAt(tensor.born, tensor.died, time)) live.push_back(i);
  }
  return live;
}

bool TensorsAreWhole(const Timeline& timeline, int64_t time) {
  return timeline.whole.empty() ||
         std::any_of(timeline.whole.begin(), timeline.whole.end(),
                     [&](const Stretch& stretch) { return stretch.begin <= time && time < stretch.end; });
}

int64_t PartlyKnownUntil(const Timeline& timeline, int64_t time) {
  int64_t until = timeline.folded_until;
  for (const Stretch& stretch : timeline.whole)
    if (stretch.begin <= time) until = std::max(until, stretch.begin);
  return until;
}

int64_t TensorBytes(const Timeline& timeline, int32_t device, int64_t time) {
  int64_t bytes = 0;
  for (const size_t i : LiveTensors(timeline, device, time)) bytes += timeline.tensors[i].bytes;
  return bytes;
}

std::optional<std::string> EnvironmentVariable(const Timeline& timeline, std::string_view name) {
  for (const std::string& variable : timeline.process.environment) {
    if (variable.size() > name.size() && variable[name.size()] == '=' && variable.starts_with(name))
      return variable.substr(name.size() + 1);
  }
  return std::nullopt;
}

int64_t StepsEndedBy(const Timeline& timeline, int64_t time) {
  const auto after = std::upper_bound(timeline.steps.begin(), timeline.steps.end(), time,
                                      [](int64_t at, const Step& step) { return at < step.end; });
  return after - timeline.steps.begin();
}

size_t StepAt(const Timeline& timeline, int64_t time) {
  const auto running = std::lower_bound(timeline.steps.begin(), timeline.steps.end(), time,
                                        [](const Step& step, int64_t at) { return step.end < at; });
  return static_cast<size_t>(running - timeline.steps.begin());
}

bool IsInductorFile(const std::string& file) {
  if (Has(file, "/torchinductor_")) return true;  // the default folder: Triton's files are there too
  const size_t name = file.rfind('/');
  if (name == std::string::npos || name == 0) return false;
  const size_t before = file.rfind('/', name - 1);
  const size_t folder = before == std::string::npos ? 0 : before + 1;
  const std::string_view path = file;
  return IsInductorName(path.substr(folder, name - folder), path.substr(name + 1));
}

bool IsUserFrame(const Frame& frame) {
  const std::string& file = frame.file;
  if (file.empty() || (file.front() == '<' && IsGeneratedCode(frame))) return false;
  if (Has(file, "/site-packages/") || Has(file, "/dist-packages/") || Has(file, "/lib/python3.")) return false;
  if (IsInductorFile(file)) return false;
  // torchrun, accelerate and the like: scripts of an environment bear no suffix.
  return !Has(file, "/bin/") || absl::EndsWith(file, ".py");
}

const Frame* UserFrame(const Timeline& timeline, uint32_t stack) {
  const std::vector<uint32_t>& frames = timeline.stacks[stack].frames;
  for (const uint32_t frame : frames) {
    if (IsUserFrame(timeline.frames[frame])) return &timeline.frames[frame];
  }
  for (const uint32_t frame : frames) {
    if (!IsTorchFile(timeline.frames[frame].file)) return &timeline.frames[frame];
  }
  return frames.empty() ? nullptr : &timeline.frames[frames.front()];
}

uint32_t PlaceOf(const Timeline& timeline, uint32_t stack, uint32_t forward_stack) {
  const std::vector<uint32_t>& frames = timeline.stacks[stack].frames;
  if (forward_stack == 0 || frames.empty()) return forward_stack != 0 ? forward_stack : stack;
  // Python that runs inside a node (a checkpoint's second forward, a function of the user's) has frames of its own.
  const std::string& innermost = timeline.frames[frames.front()].file;
  const bool called_engine = Has(innermost, "torch/autograd/graph.py") || Has(innermost, "torch/autograd/__init__.py");
  return called_engine ? forward_stack : stack;
}

bool IsFunction(const Frame& frame, const char* name) {
  if (!absl::EndsWith(frame.function, name)) return false;
  const size_t before = frame.function.size() - std::char_traits<char>::length(name);
  return before == 0 || frame.function[before - 1] == '.';
}

std::vector<bool> GraphKeepingStacks(const Timeline& timeline) {
  std::vector<bool> frames;
  for (const Frame& frame : timeline.frames) {
    frames.push_back(absl::EndsWith(frame.file, "torch/utils/checkpoint.py") ||
                     (Has(frame.file, "torch/_functorch/_aot_autograd/") && IsFunction(frame, "forward")));
  }
  std::vector<bool> stacks;
  for (const Stack& stack : timeline.stacks) {
    stacks.push_back(
        std::any_of(stack.frames.begin(), stack.frames.end(), [&](uint32_t frame) { return frames[frame]; }));
  }
  return stacks;
}

std::vector<uint32_t> SameStatements(const Timeline& timeline) {
  absl::flat_hash_map<std::string, uint32_t> of_text;
  std::vector<uint32_t> frames;
  for (size_t i = 0; i < timeline.frames.size(); ++i) {
    const Frame& frame = timeline.frames[i];
    const std::string text = absl::StrCat(WithoutNumbers(frame.file), "\n", frame.function, "\n", frame.line);
    frames.push_back(of_text.try_emplace(text, static_cast<uint32_t>(i)).first->second);
  }
  const ModulePaths paths(timeline);
  absl::flat_hash_map<std::pair<std::vector<uint32_t>, std::string>, uint32_t> of_frames;
  std::vector<uint32_t> stacks;
  for (size_t i = 0; i < timeline.stacks.size(); ++i) {
    std::vector<uint32_t> same;
    for (const uint32_t frame : timeline.stacks[i].frames) same.push_back(frames[frame]);
    std::pair key(std::move(same), paths.Path(timeline.stacks[i].module));
    stacks.push_back(of_frames.try_emplace(std::move(key), static_cast<uint32_t>(i)).first->second);
  }
  return stacks;
}

std::string Site(const Frame* frame) { return frame == nullptr ? "" : absl::StrCat(frame->file, ":", frame->line); }

std::string WithoutWrappers(const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  std::vector<std::string> kept;
  bool leading = true;
  for (const std::string& part : parts) {
    const bool wrapper = std::find(kWrappers.begin(), kWrappers.end(), part) != kWrappers.end();
    // "module" in the middle of a path is an attribute of the user's; the others are nobody's.
    if (wrapper && (leading || part.front() == '_')) continue;
    leading = false;
    kept.push_back(part);
  }
  return absl::StrJoin(kept, ".");
}

ModulePaths::ModulePaths(const Timeline& timeline) {
  for (const Module& module : timeline.modules) paths_[module.identity] = WithoutWrappers(module.path);
}

const std::string& ModulePaths::Path(uint64_t identity) const {
  static const std::string* const kNone = new std::string;
  const auto found = paths_.find(identity);
  return found == paths_.end() ? *kNone : found->second;
}

DeviceUse DeviceUseAt(const Timeline& timeline, int64_t time) {
  DeviceUse use;
  const OutOfMemory* refusal = RefusalAt(timeline, time);
  SetTotals(timeline, refusal, time, &use);
  const bool counted = refusal != nullptr && refusal->reserved > 0;
  const int64_t reserved = counted ? refusal->reserved : ReservedAt(timeline, time);
  use.tensors = TensorBytes(timeline, timeline.device, time);
  const bool folded = time <= timeline.folded_until;
  if (refusal == nullptr && (folded || !TensorsAreWhole(timeline, time))) {
    const int64_t then = SampleAt(timeline, time).tensors;
    if (then > use.tensors) {
      use.notes.push_back(absl::StrCat("of ", then, " bytes in tensors, ", then - use.tensors,
                                       folded ? " were freed before the trace was folded: they are booked as unknown"
                                              : " are of short-lived ones that this long trace gives no record: they "
                                                "are booked as unknown"));
      use.tensors = then;
    }
  }
  if (counted && refusal->allocated != use.tensors) {
    use.notes.push_back(absl::StrCat("PyTorch counted ", refusal->allocated, " bytes in tensors, the trace holds ",
                                     use.tensors, ": the difference is booked as unknown"));
    use.tensors = refusal->allocated;
  }
  use.cache = std::max<int64_t>(0, reserved - use.tensors);
  int64_t segments = 0;
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.device != timeline.device || !LivesAt(allocation.born, allocation.died, time)) continue;
    // What contexts and code take is in the row for them, with what of it no call shows.
    if (!allocation.on_device || IsOverhead(allocation)) continue;
    (allocation.caching_allocator ? segments : use.other) += allocation.bytes;
  }
  // Without caching (PYTORCH_NO_CUDA_MEMORY_CACHING) nothing is reserved, and its allocations stand on their own.
  use.other += std::max<int64_t>(0, segments - std::max(reserved, use.tensors));
  use.other_processes = ForeignBytes(timeline);
  Balance(refusal != nullptr && refusal->device_total > 0, &use);
  return use;
}

DevicePeak FindDevicePeak(const Timeline& timeline) {
  std::vector<std::pair<int64_t, int64_t>> changes;  // time, bytes
  for (const DeviceAllocation& allocation : timeline.device_allocations) {
    if (allocation.device != timeline.device || !allocation.on_device || IsOverhead(allocation)) continue;
    changes.emplace_back(allocation.born, allocation.bytes);
    if (allocation.died != kNever) changes.emplace_back(allocation.died, -allocation.bytes);
  }
  std::sort(changes.begin(), changes.end());  // what is freed at a moment goes first
  DevicePeak peak{.bytes = 0, .time = timeline.end};
  int64_t held = 0;
  for (const auto& [time, bytes] : changes) {
    held += bytes;
    if (held > peak.bytes) peak = {held, time};
  }
  return peak;
}

const OutOfMemory* FatalOutOfMemory(const Timeline& timeline) {
  for (const OutOfMemory& refusal : timeline.out_of_memory) {
    if (refusal.fatal) return &refusal;
  }
  return nullptr;
}

int64_t PeakTime(const Timeline& timeline, int64_t until) {
  // What was folded away, or has no records, cannot be told apart: another moment that is as high, within a hundredth,
  // says more.
  constexpr int64_t kAlike = 100;
  const Sample *highest = nullptr, *highest_known = nullptr;
  for (const Sample& sample : timeline.samples) {
    if (sample.time > until) break;
    if (highest == nullptr || sample.tensors > highest->tensors) highest = &sample;
    if (sample.time <= timeline.folded_until || !TensorsAreWhole(timeline, sample.time)) continue;
    if (highest_known == nullptr || sample.tensors > highest_known->tensors) highest_known = &sample;
  }
  if (highest == nullptr) return timeline.end;
  const bool alike = highest_known != nullptr && highest->tensors - highest_known->tensors <= highest->tensors / kAlike;
  return (alike ? highest_known : highest)->time;
}

int64_t MomentOfInterest(const Timeline& timeline) {
  if (const OutOfMemory* fatal = FatalOutOfMemory(timeline)) return fatal->time;
  return PeakTime(timeline, kNever);
}

}  // namespace oomtrace
