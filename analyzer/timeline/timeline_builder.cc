#include "analyzer/timeline/timeline_builder.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "analyzer/read/utf8.h"
#include "analyzer/timeline/definition_lines.h"
#include "analyzer/timeline/device_ledger.h"
#include "analyzer/timeline/folded_steps.h"
#include "analyzer/timeline/gpu_time.h"
#include "analyzer/timeline/hindsight.h"
#include "analyzer/timeline/interned.h"
#include "analyzer/timeline/library_symbols.h"
#include "analyzer/timeline/live_set.h"
#include "analyzer/timeline/native_names.h"
#include "analyzer/timeline/phase_machine.h"
#include "analyzer/timeline/process_life.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/refusal_text.h"
#include "analyzer/timeline/samples.h"
#include "analyzer/timeline/steps.h"

namespace oomtrace {
namespace {

// The library of PyTorch's caching allocator: its device allocations are segments, counted in `reserved`.
bool IsCachingAllocator(const std::string& library) { return absl::StrContains(library, "libc10_cuda"); }

bool IsSegmentKind(trace::MemoryKind kind) {
  return kind == trace::DEVICE || kind == trace::POOLED || kind == trace::PHYSICAL || kind == trace::MAPPING;
}

Category CategoryOfRole(trace::TensorRole::Role role) {
  switch (role) {
    case trace::TensorRole::PARAMETER:
    case trace::TensorRole::BUFFER:
      return Category::kParameter;
    case trace::TensorRole::GRADIENT:
      return Category::kGradient;
    case trace::TensorRole::OPTIMIZER_STATE:
      return Category::kOptimizerState;
    default:
      return Category::kUnknown;
  }
}

// How many tensors a timeline will hold. A vector that grows by doubling would need three times its size at the end.
class TensorCounter : public EventSink {
 public:
  void OnTensorAlloc(const TensorAllocEvent& event) override { ++count_; }
  size_t count() const { return count_; }

 private:
  size_t count_ = 0;
};

class Builder : public EventSink {
 public:
  // `tensors`: how many the trace's caching allocator reports. If none, PyTorch runs without one (cudaMallocAsync, no
  // caching): what it asks of the device are its tensors.
  Builder(const Tables& tables, size_t tensors)
      : tensors_by_device_calls_(tensors == 0),
        tables_(tables),
        interned_(tables, &timeline_),
        ledger_(&timeline_.device_allocations),
        machine_(timeline_.modules),
        keeps_graph_(GraphKeepingStacks(timeline_)),
        gpu_(tables) {
    timeline_.tensors.reserve(tensors);
  }

  // The process ended by _exit(), which is no event.
  void EndWithoutHandlers(int status);
  Timeline Finish();

  void OnTensorAlloc(const TensorAllocEvent& event) override;
  void OnTensorFree(const TensorFreeEvent& event) override;
  void OnDeviceAlloc(const DeviceAllocEvent& event) override;
  void OnDeviceFree(const DeviceFreeEvent& event) override;
  void OnMemoryInfo(const MemoryInfoEvent& event) override;
  void OnPhase(const PhaseEvent& event) override;
  void OnHostCopy(const HostCopyEvent& event) override;
  void OnOutOfMemory(const OutOfMemoryEvent& event) override;
  void OnRefusalText(const RefusalTextEvent& event) override;
  void OnTensorRole(const TensorRoleEvent& event) override;
  void OnGpuProcesses(int64_t time, const trace::GpuProcesses& event) override;
  void OnHolder(const HolderEvent& event) override;
  void OnFoldedSteps(const FoldedStepsEvent& event) override;
  void OnExit(const ExitEvent& event) override;
  void OnCollectorState(int64_t time, const trace::CollectorState& event) override { gpu_.OnState(time, event); }
  void OnCollectorClock(int64_t time, const trace::CollectorClock& event) override { gpu_.OnClock(time, event); }
  void OnGpuActivity(const trace::GpuActivity& event) override { gpu_.OnActivity(event); }
  void OnLaunch(int64_t time, const trace::Launch& event) override;
  void OnCorrelation(const trace::Correlation& event) override { gpu_.OnCorrelation(event); }
  void OnCuptiMemory(const trace::CuptiMemory& event) override { gpu_.OnMemory(event); }
  void OnGpuResource(const trace::GpuResource& event) override { gpu_.OnResource(event); }
  void OnNvtxRange(int64_t time, uint32_t thread, const trace::NvtxRange& event) override;

 private:
  struct DeviceState {
    LiveSet tensors;
    SampleSeries samples;
    int64_t reserved = 0;
    int64_t peak = 0;  // of reserved: the fullest device is the one reported where none ran out
    std::vector<GpuProcess> processes;
    std::vector<FoldedStepsEvent> folded;
  };

  DeviceState& Device(int32_t device) { return devices_[device]; }
  void AddTensor(const TensorAllocEvent& event, const AllocationContext& context);
  void Seen(int64_t time) { timeline_.end = std::max(timeline_.end, time); }
  void Die(int64_t tensor, int64_t time, PhaseKind phase);
  void MemoryChanged(int32_t device, int64_t time, int64_t reserved);
  int64_t TensorAt(uint64_t address, int32_t device) const;
  void RelabelEvaluations(int64_t since);
  void ChooseDevice();
  void NameCallers();
  int64_t LastAllocationThatTells() const;

  const bool tensors_by_device_calls_;
  const Tables& tables_;
  Timeline timeline_;
  Interned interned_;
  DeviceLedger ledger_;
  PhaseMachine machine_;
  StepLedger steps_;
  std::vector<bool> keeps_graph_;  // by stack
  absl::flat_hash_map<int32_t, DeviceState> devices_;
  std::vector<int64_t> functional_backwards_;  // begins of those without a module's forward before them
  int64_t last_progress_ = -1;
  GpuTimeBuilder gpu_;
  NamedRanges ranges_;
  int64_t last_device_allocation_ = -1;
  absl::flat_hash_map<uint32_t, int64_t> last_of_thread_;  // when it last allocated on a device
  std::optional<DeviceAllocEvent> refused_;                // the last device call that failed
  std::set<std::pair<uint32_t, uint64_t>> callers_;        // of device calls: library and offset
};

void Builder::Die(int64_t tensor, int64_t time, PhaseKind phase) {
  Tensor& dead = timeline_.tensors[static_cast<size_t>(tensor)];
  dead.died = time;
  dead.died_phase = phase;
}

void Builder::MemoryChanged(int32_t device, int64_t time, int64_t reserved) {
  DeviceState& state = Device(device);
  if (reserved >= 0) state.reserved = reserved;
  state.peak = std::max(state.peak, std::max(state.reserved, state.tensors.bytes()));
  state.samples.Add({time, state.tensors.bytes(), state.reserved});
  steps_.OnMemory(device, state.tensors.bytes());
}

void Builder::OnTensorAlloc(const TensorAllocEvent& event) { AddTensor(event, interned_.Context(event.context)); }

void Builder::AddTensor(const TensorAllocEvent& event, const AllocationContext& context) {
  Seen(event.time);
  Tensor tensor;
  tensor.address = event.address;
  tensor.bytes = event.bytes;
  tensor.born = event.time;
  tensor.device = event.device;
  tensor.stack = interned_.Stack(event.stack);
  tensor.layout = interned_.Layout(event.layout);
  tensor.node = context.node;
  tensor.forward_stack = context.forward_stack;
  tensor.grad_mode = context.grad_mode;
  tensor.inference_mode = context.inference_mode;
  tensor.backward = context.backward;
  if (tensor.layout == 0) tensor.name = context.buffer;
  const uint64_t root = timeline_.stacks[tensor.stack].root_module;
  tensor.phase = machine_.OnAllocation({.time = event.time,
                                        .grad_mode = context.grad_mode,
                                        .inference_mode = context.inference_mode,
                                        .backward = context.backward,
                                        .root_module = root,
                                        .keeps_graph = keeps_graph_[tensor.stack]});
  if (root != 0 || context.backward) last_progress_ = event.time;
  const auto index = static_cast<int64_t>(timeline_.tensors.size());
  timeline_.tensors.push_back(tensor);
  for (const int64_t gone : Device(event.device).tensors.Add(event.address, event.bytes, index)) {
    ++timeline_.replaced_tensors;
    Die(gone, event.time, timeline_.tensors.back().phase);
  }
  MemoryChanged(event.device, event.time, event.reserved);
}

void Builder::OnTensorFree(const TensorFreeEvent& event) {
  Seen(event.time);
  const int64_t tensor = Device(event.device).tensors.Remove(event.address);
  if (tensor < 0) {
    ++timeline_.unknown_frees;
  } else {
    Die(tensor, event.time, machine_.phase());
  }
  MemoryChanged(event.device, event.time, event.reserved);
}

void Builder::OnDeviceAlloc(const DeviceAllocEvent& event) {
  Seen(event.time);
  if (event.result != 0) {
    refused_ = event;
    return;
  }
  last_device_allocation_ = event.time;
  last_of_thread_[event.thread] = event.time;
  DeviceAllocation allocation;
  allocation.address = event.address;
  allocation.bytes = event.bytes;
  allocation.born = event.time;
  allocation.library = tables_.LibraryPath(event.library);
  allocation.caller = event.caller;
  allocation.stack = interned_.Stack(event.stack);
  allocation.thread = event.thread;
  allocation.api = tables_.String(event.api);
  allocation.caching_allocator = IsSegmentKind(event.kind) && IsCachingAllocator(allocation.library);
  if (!allocation.caching_allocator) callers_.insert({event.library, event.caller});
  const bool is_tensor = event.kind == trace::DEVICE || event.kind == trace::POOLED;
  if (allocation.caching_allocator && tensors_by_device_calls_ && is_tensor) {
    AllocationContext context = interned_.Context(event.context);
    // Not said: gradients are on in most of a training, and off in its backward.
    if (event.context == 0) context.grad_mode = machine_.phase() != PhaseKind::kBackward;
    AddTensor({.time = event.time,
               .address = event.address,
               .bytes = event.bytes,
               .stack = event.stack,
               .layout = event.layout,
               .context = event.context,
               .device = event.device,
               .reserved = Device(event.device).tensors.bytes() + event.bytes},
              context);
  }
  ledger_.Add(event, std::move(allocation));
}

void Builder::OnDeviceFree(const DeviceFreeEvent& event) {
  Seen(event.time);
  const std::vector<int64_t> dead = ledger_.Free(event);
  // A handle that is let go may be mapped still, or have other owners.
  if (dead.empty() && event.kind == trace::DEVICE) ++timeline_.unknown_frees;
  for (const int64_t index : dead) {
    const DeviceAllocation& allocation = timeline_.device_allocations[static_cast<size_t>(index)];
    if (!tensors_by_device_calls_ || !allocation.caching_allocator) continue;
    const int32_t device = allocation.device;
    OnTensorFree({.time = event.time, .address = allocation.address, .bytes = 0, .device = device, .reserved = -1});
    Device(device).reserved = Device(device).tensors.bytes();
  }
}

void Builder::OnMemoryInfo(const MemoryInfoEvent& event) {
  Seen(event.time);
  timeline_.memory_readings.push_back({event.time, event.device, event.free, event.total});
}

void Builder::OnPhase(const PhaseEvent& event) {
  Seen(event.time);
  const PhaseKind before = machine_.phase();
  const bool forward_seen = machine_.forward_seen();
  machine_.OnPhase(event);
  if (const std::optional<int64_t> since = machine_.RelabelSince()) RelabelEvaluations(*since);
  const bool enters = before != PhaseKind::kBackward && machine_.phase() == PhaseKind::kBackward;
  const bool leaves = before == PhaseKind::kBackward && machine_.phase() != PhaseKind::kBackward;
  if (leaves) steps_.OnBackwardEnd(event.time);
  if (enters) {
    steps_.OnBackwardBegin(event.time);
    if (!forward_seen) functional_backwards_.push_back(event.time);
  }
  if (event.kind == trace::Phase::OPTIMIZER_STEP_BEGIN) steps_.OnOptimizerBegin(event.time, event.object);
  if (event.kind == trace::Phase::OPTIMIZER_STEP_END) steps_.OnOptimizerEnd(event.time, event.object);
  if (enters || event.kind == trace::Phase::OPTIMIZER_STEP_BEGIN) last_progress_ = event.time;
}

int64_t Builder::TensorAt(uint64_t address, int32_t device) const {
  const auto state = devices_.find(device);
  return state == devices_.end() ? -1 : state->second.tensors.Find(address);
}

void Builder::OnHostCopy(const HostCopyEvent& event) {
  Seen(event.time);
  const int64_t tensor = TensorAt(event.address, event.device);
  if (tensor >= 0) timeline_.tensors[static_cast<size_t>(tensor)].host_copied = true;
}

void Builder::OnOutOfMemory(const OutOfMemoryEvent& event) {
  Seen(event.time);
  const AllocationContext& context = interned_.Context(event.context);
  OutOfMemory refusal;
  refusal.time = event.time;
  refusal.requested = event.bytes;
  refusal.allocated = event.allocated;
  refusal.reserved = event.reserved;
  refusal.device_free = event.device_free;
  refusal.device_total = event.device_total;
  refusal.device = event.device;
  refusal.stack = interned_.Stack(event.stack);
  refusal.layout = interned_.Layout(event.layout);
  refusal.grad_mode = context.grad_mode;
  refusal.backward = context.backward;
  refusal.forward_stack = context.forward_stack;
  refusal.buffer = context.buffer;
  refusal.from_caching_allocator = event.source == trace::OutOfMemory::TORCH_REPORT;
  refusal.phase = machine_.OnAllocation({.time = event.time,
                                         .grad_mode = context.grad_mode,
                                         .inference_mode = context.inference_mode,
                                         .backward = context.backward,
                                         .root_module = timeline_.stacks[refusal.stack].root_module,
                                         .keeps_graph = keeps_graph_[refusal.stack]});
  if (!refusal.from_caching_allocator && refused_ && refused_->bytes == event.bytes) {
    refusal.library = tables_.LibraryPath(refused_->library);
    refusal.caller = refused_->caller;
    callers_.insert({refused_->library, refused_->caller});
    refusal.thread = refused_->thread;
    refusal.api = tables_.String(refused_->api);
  }
  timeline_.out_of_memory.push_back(std::move(refusal));
}

void Builder::OnRefusalText(const RefusalTextEvent& event) {
  Seen(event.time);
  for (auto refusal = timeline_.out_of_memory.rbegin(); refusal != timeline_.out_of_memory.rend(); ++refusal) {
    if (refusal->device != event.device || !refusal->text.empty()) continue;
    refusal->text = tables_.String(event.text);
    refusal->limit = LimitIn(refusal->text);
    return;
  }
}

void Builder::OnTensorRole(const TensorRoleEvent& event) {
  Seen(event.time);
  Role role;
  role.time = event.time;
  role.address = event.address;
  role.bytes = event.bytes;
  role.category = CategoryOfRole(event.role);
  role.name = tables_.String(event.name);
  role.owner = event.owner;
  role.buffer = event.role == trace::TensorRole::BUFFER;
  role.tensor = TensorAt(event.address, event.device);
  timeline_.roles.push_back(std::move(role));
}

void Builder::OnGpuProcesses(int64_t time, const trace::GpuProcesses& event) {
  Seen(time);
  std::vector<GpuProcess>& processes = Device(static_cast<int32_t>(event.device())).processes;
  processes.clear();
  for (const trace::GpuProcesses::Entry& entry : event.entry()) {
    processes.push_back({entry.pid(), static_cast<int64_t>(entry.bytes()), entry.self(), ToUtf8(entry.name())});
  }
}

void Builder::OnHolder(const HolderEvent& event) {
  Seen(event.time);
  HolderInfo holder;
  holder.address = event.address;
  holder.path = tables_.String(event.path);
  holder.time = event.time;
  for (const auto& [index, state] : devices_) {
    if (const int64_t tensor = state.tensors.Find(event.address); tensor >= 0) holder.tensor = tensor;
  }
  timeline_.holders.push_back(std::move(holder));
}

void Builder::OnFoldedSteps(const FoldedStepsEvent& event) {
  Seen(event.time);
  DeviceState& state = Device(event.device);
  state.peak = std::max(state.peak, std::max(event.reserved, event.peak));
  state.samples.Add({event.time, event.peak, event.reserved});
  state.folded.push_back(event);
  timeline_.folded_until = std::max(timeline_.folded_until, event.end_time);
}

void Builder::OnExit(const ExitEvent& event) {
  Seen(event.time);
  timeline_.exited = true;
  timeline_.exit_status = event.status;
}

// An exit handler may call _exit() at its end: the status that exit() was given has been heard then.
void Builder::EndWithoutHandlers(int status) {
  if (timeline_.exited) return;
  timeline_.exited = timeline_.without_handlers = true;
  timeline_.exit_status = status;
}

void Builder::OnLaunch(int64_t time, const trace::Launch& event) {
  Seen(time);
  std::vector<int64_t> tensors;
  uint64_t address = 0;
  for (const int64_t difference : event.address()) {
    address += static_cast<uint64_t>(difference);
    const int64_t tensor = TensorAt(address, static_cast<int32_t>(event.device()));
    if (tensor >= 0 && (tensors.empty() || tensors.back() != tensor)) tensors.push_back(tensor);
  }
  gpu_.OnLaunch(time, event, interned_.Stack(event.stack()), std::move(tensors));
}

void Builder::OnNvtxRange(int64_t time, uint32_t thread, const trace::NvtxRange& event) {
  Seen(time);
  ranges_.OnRange(time, thread, event, tables_);
}

void Builder::RelabelEvaluations(int64_t since) {
  for (auto tensor = timeline_.tensors.rbegin(); tensor != timeline_.tensors.rend() && tensor->born >= since;
       ++tensor) {
    if (tensor->phase == PhaseKind::kEvaluation) tensor->phase = PhaseKind::kForward;
  }
}

void Builder::ChooseDevice() {
  if (!timeline_.out_of_memory.empty()) {
    timeline_.device = timeline_.out_of_memory.back().device;
  } else {
    int64_t fullest = -1;
    for (const auto& [device, state] : devices_) {
      if (state.peak > fullest || (state.peak == fullest && device < timeline_.device)) {
        fullest = state.peak;
        timeline_.device = device;
      }
    }
  }
  DeviceState& state = Device(timeline_.device);
  timeline_.samples = state.samples.Take();
  timeline_.gpu_processes = std::move(state.processes);
  timeline_.steps = steps_.Steps(timeline_.device);
  ApplyFoldedSteps(state.folded, &timeline_.steps);
  for (const MemoryReading& reading : timeline_.memory_readings) {
    if (reading.device != timeline_.device) continue;
    timeline_.device_total = reading.total;
    timeline_.device_free = reading.free;
  }
  if (!timeline_.out_of_memory.empty() && timeline_.out_of_memory.back().device_total > 0) {
    timeline_.device_total = timeline_.out_of_memory.back().device_total;
    timeline_.device_free = timeline_.out_of_memory.back().device_free;
  }
}

void Builder::NameCallers() {
  LibrarySymbols symbols;
  for (const auto& [library, offset] : callers_) {
    const auto file = tables_.libraries.find(library);
    if (file == tables_.libraries.end() || offset == 0) continue;
    const std::string function = PlainName(symbols.FunctionAt(file->second, offset));
    if (!function.empty()) timeline_.functions[{file->second.path, offset}] = function;
  }
}

// A program that ended badly may have died in the thread that was refused, whatever the others went on to allocate.
int64_t Builder::LastAllocationThatTells() const {
  const bool ended_badly = timeline_.exited && timeline_.exit_status != 0;
  if (!ended_badly || timeline_.out_of_memory.empty()) return last_device_allocation_;
  const uint32_t thread = timeline_.out_of_memory.back().thread;
  if (thread == 0) return last_device_allocation_;
  const auto found = last_of_thread_.find(thread);
  return found == last_of_thread_.end() ? -1 : found->second;
}

Timeline Builder::Finish() {
  timeline_.backward_passes = steps_.backward_passes();
  timeline_.phases = machine_.TakeMarks();
  RelabelFunctionalForwards(functional_backwards_, &timeline_);
  // Without tensors, that a later allocation succeeded, or that the program ended well, is all that tells.
  const bool ended_well = timeline_.exited && timeline_.exit_status == 0;
  const bool plain = timeline_.tensors.empty();
  const int64_t last_allocation = plain ? LastAllocationThatTells() : -1;
  MarkFatalRefusal(plain && ended_well ? kNever : std::max(last_progress_, last_allocation), &timeline_);
  ChooseDevice();
  NameCallers();
  gpu_.Finish(&timeline_);
  timeline_.ranges = ranges_.Take();
  NumberSteps(&timeline_);
  SetFirstTrainingForward(&timeline_);
  return std::move(timeline_);
}

}  // namespace

Timeline BuildTimeline(TraceReader* reader) {
  TensorCounter counter;
  reader->ReadEvents(&counter);
  Builder builder(reader->tables(), counter.count());
  const int64_t events = reader->ReadEvents(&builder);
  const FileHeader& header = reader->header();
  if (header.exit_ticks != 0) builder.EndWithoutHandlers(header.exit_status);
  Timeline timeline = builder.Finish();
  if (!timeline.exited) timeline.life = LifeOf(reader->tables().process);
  MoveToDefinitions(static_cast<int64_t>(header.start_unix_ns & INT64_MAX), &timeline.frames);
  if (timeline.process.pid == 0) timeline.process.pid = header.pid;
  timeline.events = events;
  timeline.dropped = static_cast<int64_t>(header.events_dropped);
  timeline.recycled_chunks = static_cast<int64_t>(header.chunks_recycled);
  timeline.folded = static_cast<int64_t>(header.events_folded);
  timeline.unhooked_calls = static_cast<int64_t>(header.device_calls_unhooked);
  timeline.missed_stacks = static_cast<int64_t>(header.stacks_missed);
  timeline.recorder_state = RecorderStateText(header);
  timeline.damage = reader->damage();
  timeline.path = reader->name();
  return timeline;
}

absl::StatusOr<Timeline> ReadTimeline(const std::string& path) {
  absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(path);
  if (!reader.ok()) return reader.status();
  Timeline timeline = BuildTimeline(reader->get());
  if (timeline.events == 0 && !timeline.damage.empty()) {
    return absl::DataLossError(absl::StrCat(path, ": no event of it can be read: ", timeline.damage.front(),
                                            ". Copy the trace again, or record again"));
  }
  return timeline;
}

}  // namespace oomtrace
