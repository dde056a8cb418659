#include "analyzer/timeline/timeline_builder.h"

#include <algorithm>
#include <limits>
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
#include "analyzer/timeline/private_segments.h"
#include "analyzer/timeline/process_life.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/refusal_text.h"
#include "analyzer/timeline/samples.h"
#include "analyzer/timeline/selection.h"
#include "analyzer/timeline/steps.h"

namespace oomtrace {
namespace {

// The library of PyTorch's caching allocator: its device allocations are segments, counted in `reserved`.
bool IsCachingAllocator(const std::string& library) { return absl::StrContains(library, "libc10_cuda"); }

bool IsSegmentKind(trace::MemoryKind kind) {
  return kind == trace::DEVICE || kind == trace::POOLED || kind == trace::PHYSICAL || kind == trace::MAPPING;
}

// What shows that a program which was refused goes on: host memory, which an error handler may well take, does not.
bool TakesDeviceMemory(trace::MemoryKind kind) {
  return IsSegmentKind(kind) || kind == trace::MANAGED || kind == trace::ARRAY;
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

// In a LiveSet, of a tensor that has no record of its own.
constexpr int64_t kLeftOut = -2;

class Builder : public EventSink {
 public:
  // `tensors`: how many the trace's caching allocator reports. If none, PyTorch runs without one (cudaMallocAsync, no
  // caching): what it asks of the device are its tensors. `selection`: of them; outlives this.
  Builder(const Tables& tables, size_t tensors, const Selection& selection)
      : tensors_by_device_calls_(tensors == 0),
        selection_(selection),
        tables_(tables),
        interned_(tables, &timeline_),
        ledger_(&timeline_.device_allocations),
        machine_(timeline_.modules),
        keeps_graph_(GraphKeepingStacks(timeline_)),
        gpu_(tables) {
    if (!tables.optimizers.empty()) steps_.ExpectOptimizer();
    constexpr uint32_t kForward = UINT32_MAX;
    for (uint32_t stack = 0; stack < timeline_.stacks.size(); ++stack)
      calls_engine_.push_back(PlaceOf(timeline_, stack, kForward) == kForward);
    // A vector that grows by doubling would need three times its size at the end.
    timeline_.tensors.reserve(selection.all() ? tensors : selection.count());
    timeline_.whole = selection.whole();
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
  void OnFoldedCalls(const FoldedCallsEvent& event) override {
    Device(event.device).folded_calls = {event.time, event.made, event.freed};
  }
  void OnPrivateSegment(const PrivateSegmentEvent& event) override;
  void OnTensorRole(const TensorRoleEvent& event) override;
  void OnGpuProcesses(int64_t time, const trace::GpuProcesses& event) override;
  void OnHolder(const HolderEvent& event) override;
  void OnFoldedSteps(const FoldedStepsEvent& event) override;
  void OnThreadFailed(const ThreadFailedEvent& event) override;
  void OnModelMove(const ModelMoveEvent& event) override;
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
    LiveSet outside;       // device allocations that may yet turn out to be segments: one that holds a tensor is
    int64_t segments = 0;  // bytes of those that have
    int64_t peak = 0;      // of reserved: the fullest device is the one reported where none ran out
    std::vector<GpuProcess> processes;
    std::vector<FoldedStepsEvent> folded;
    FoldedCalls folded_calls;
  };

  DeviceState& Device(int32_t device) { return devices_[device]; }
  void AddTensor(const TensorAllocEvent& event, const AllocationContext& context, bool keep);
  uint8_t FreeListOf(const FreeList& list);
  void MarkSegment(uint64_t address, int32_t device);
  void AssignPrivatePools();
  void CountLostSteps(const std::vector<FoldedStepsEvent>& folded);
  void Seen(int64_t time) { timeline_.end = std::max(timeline_.end, time); }
  void Die(int64_t tensor, int64_t time, PhaseKind phase);
  // `birth`: the tensor that was born, null: other events.
  void MemoryChanged(int32_t device, int64_t time, int64_t reserved, const Tensor* birth = nullptr);
  int64_t TensorAt(uint64_t address, int32_t device) const;
  void RelabelEvaluations(int64_t since);
  void ChooseDevice();
  void NameCallers();
  int64_t LastAllocationThatTells() const;
  int64_t LastProgressThatTells() const;

  const bool tensors_by_device_calls_;
  const Selection& selection_;
  size_t births_ = 0;  // that the caching allocator reported
  const Tables& tables_;
  Timeline timeline_;
  Interned interned_;
  DeviceLedger ledger_;
  PhaseMachine machine_;
  StepLedger steps_;
  std::vector<bool> keeps_graph_;   // by stack
  std::vector<bool> calls_engine_;  // by stack: what is allocated under it is for a forward's gradient (PlaceOf)
  absl::flat_hash_map<int32_t, DeviceState> devices_;
  std::vector<int64_t> functional_backwards_;  // begins of those without a module's forward before them
  int64_t last_progress_ = -1;
  GpuTimeBuilder gpu_;
  NamedRanges ranges_;
  std::vector<int64_t> step_ends_;  // as the fold counts them: an optimizer's, a backward's while none was seen
  bool optimizer_stepped_ = false;
  int64_t last_device_allocation_ = -1;
  absl::flat_hash_map<uint32_t, int64_t> last_of_thread_;  // when it last allocated: tensors, from a refusal on
  std::optional<DeviceAllocEvent> refused_;                // the last device call that failed
  std::set<std::pair<uint32_t, uint64_t>> callers_;        // of device calls: library and offset
};

void Builder::Die(int64_t tensor, int64_t time, PhaseKind phase) {
  if (tensor == kLeftOut) return;
  Tensor& dead = timeline_.tensors[static_cast<size_t>(tensor)];
  dead.died = time;
  dead.died_phase = phase;
}

void Builder::MemoryChanged(int32_t device, int64_t time, int64_t reserved, const Tensor* birth) {
  DeviceState& state = Device(device);
  if (reserved >= 0) state.reserved = reserved;
  state.peak = std::max(state.peak, std::max(state.reserved, state.tensors.bytes()));
  Sample sample{.time = time, .tensors = state.tensors.bytes(), .reserved = state.reserved};
  if (birth != nullptr) {
    sample.place = birth->forward_stack != 0 && calls_engine_[birth->stack] ? birth->forward_stack : birth->stack;
    sample.phase = birth->phase;
    sample.birth = true;
  }
  state.samples.Add(sample);
  steps_.OnMemory(device, state.tensors.bytes());
}

void Builder::OnTensorAlloc(const TensorAllocEvent& event) {
  AddTensor(event, interned_.Context(event.context), selection_.Keeps(births_++));
}

void Builder::AddTensor(const TensorAllocEvent& event, const AllocationContext& context, bool keep) {
  Seen(event.time);
  if (!timeline_.out_of_memory.empty()) last_of_thread_[event.thread] = event.time;
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
  tensor.free_list = FreeListOf({.stream = context.stream, .pool = 0});
  if (keep && tensor.layout == 0) tensor.name = context.buffer;
  const uint64_t root = timeline_.stacks[tensor.stack].root_module;
  tensor.phase = machine_.OnAllocation({.time = event.time,
                                        .grad_mode = context.grad_mode,
                                        .inference_mode = context.inference_mode,
                                        .backward = context.backward,
                                        .root_module = root,
                                        .keeps_graph = keeps_graph_[tensor.stack]});
  if (root != 0 || context.backward) last_progress_ = event.time;
  const int64_t index = keep ? static_cast<int64_t>(timeline_.tensors.size()) : kLeftOut;
  if (keep) {
    timeline_.tensors.push_back(tensor);
  } else {
    ++timeline_.left_out;
  }
  for (const int64_t gone : Device(event.device).tensors.Add(event.address, event.bytes, index)) {
    ++timeline_.replaced_tensors;
    Die(gone, event.time, tensor.phase);
  }
  if (tensors_by_device_calls_) return MemoryChanged(event.device, event.time, event.reserved, &tensor);
  MarkSegment(event.address, event.device);
  // The caching allocator has reserved what it hands out; who says nothing is another (proto/trace.proto).
  timeline_.pluggable = timeline_.pluggable || event.reserved == 0;
  MemoryChanged(event.device, event.time, timeline_.pluggable ? Device(event.device).segments : event.reserved,
                &tensor);
}

// Streams are few: PyTorch hands out 32 of each priority, and then the same again.
uint8_t Builder::FreeListOf(const FreeList& list) {
  if (list == timeline_.free_lists.front()) return 0;
  const auto known = std::find(timeline_.free_lists.begin(), timeline_.free_lists.end(), list);
  const auto index = static_cast<size_t>(known - timeline_.free_lists.begin());
  if (index > std::numeric_limits<uint8_t>::max()) return std::numeric_limits<uint8_t>::max();
  if (known == timeline_.free_lists.end()) timeline_.free_lists.push_back(list);
  return static_cast<uint8_t>(index);
}

// What holds a tensor is a segment of the allocator that the tensor is of, whichever library asked the device for it:
// a pluggable allocator's, or that of a MemPool with an allocator of its own.
void Builder::MarkSegment(uint64_t address, int32_t device) {
  DeviceState& state = Device(device);
  const int64_t index = state.outside.Find(address);
  if (index < 0) return;
  DeviceAllocation& allocation = timeline_.device_allocations[static_cast<size_t>(index)];
  state.outside.Remove(allocation.address);
  allocation.caching_allocator = true;
  state.segments += allocation.bytes;
}

void Builder::OnTensorFree(const TensorFreeEvent& event) {
  Seen(event.time);
  int32_t device = event.device;
  int64_t tensor = Device(device).tensors.Remove(event.address);
  // A pluggable allocator is not told of which device it takes memory back.
  for (auto other = devices_.begin(); tensor == -1 && timeline_.pluggable && other != devices_.end(); ++other) {
    tensor = other->second.tensors.Remove(event.address);
    if (tensor != -1) device = other->first;
  }
  if (tensor == -1) {
    ++timeline_.unknown_frees;
  } else {
    Die(tensor, event.time, machine_.phase());
  }
  MemoryChanged(device, event.time, timeline_.pluggable ? Device(device).segments : event.reserved);
}

void Builder::OnDeviceAlloc(const DeviceAllocEvent& event) {
  Seen(event.time);
  if (event.result != 0) {
    refused_ = event;
    return;
  }
  if (TakesDeviceMemory(event.kind)) last_device_allocation_ = last_of_thread_[event.thread] = event.time;
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
              context, /*keep=*/true);
  }
  const bool may_hold_tensors = !allocation.caching_allocator && IsSegmentKind(event.kind);
  const size_t index = timeline_.device_allocations.size();
  ledger_.Add(event, allocation);
  if (!may_hold_tensors || index == timeline_.device_allocations.size()) return;
  const DeviceAllocation& added = timeline_.device_allocations[index];
  if (added.on_device) Device(added.device).outside.Add(added.address, added.bytes, static_cast<int64_t>(index));
}

void Builder::OnDeviceFree(const DeviceFreeEvent& event) {
  Seen(event.time);
  const std::vector<int64_t> dead = ledger_.Free(event);
  // A handle that is let go may be mapped still, or have other owners.
  if (dead.empty() && event.kind == trace::DEVICE) ++timeline_.unknown_frees;
  for (const int64_t index : dead) {
    const DeviceAllocation& allocation = timeline_.device_allocations[static_cast<size_t>(index)];
    DeviceState& state = Device(allocation.device);
    if (!allocation.caching_allocator) state.outside.Remove(allocation.address);
    if (timeline_.pluggable && allocation.caching_allocator) {
      state.segments -= allocation.bytes;
      MemoryChanged(allocation.device, event.time, state.segments);
    }
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
  optimizer_stepped_ = optimizer_stepped_ || event.kind == trace::Phase::OPTIMIZER_STEP_END;
  if (event.kind == (optimizer_stepped_ ? trace::Phase::OPTIMIZER_STEP_END : trace::Phase::BACKWARD_END))
    step_ends_.push_back(event.time);
  if (event.kind == trace::Phase::OPTIMIZER_STEP_BEGIN) steps_.OnOptimizerBegin(event.time, event.object);
  if (event.kind == trace::Phase::OPTIMIZER_STEP_END) steps_.OnOptimizerEnd(event.time, event.object);
  if (enters || event.kind == trace::Phase::OPTIMIZER_STEP_BEGIN) last_progress_ = event.time;
}

int64_t Builder::TensorAt(uint64_t address, int32_t device) const {
  const auto state = devices_.find(device);
  return state == devices_.end() ? -1 : std::max<int64_t>(-1, state->second.tensors.Find(address));
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
  refusal.thread = event.thread;
  refusal.forward_stack = context.forward_stack;
  refusal.buffer = context.buffer;
  refusal.from_caching_allocator = event.source == trace::OutOfMemory::TORCH_REPORT;
  refusal.by_allocator = event.source == trace::OutOfMemory::EXCEPTION && event.bytes > 0;
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
    if (refusal.thread == 0) refusal.thread = refused_->thread;
    refusal.api = tables_.String(refused_->api);
    refusal.kind = static_cast<MemoryKind>(refused_->kind);
  }
  timeline_.out_of_memory.push_back(std::move(refusal));
}

void Builder::OnRefusalText(const RefusalTextEvent& event) {
  Seen(event.time);
  for (auto refusal = timeline_.out_of_memory.rbegin(); refusal != timeline_.out_of_memory.rend(); ++refusal) {
    if (refusal->device != event.device || !refusal->text.empty()) continue;
    refusal->text = tables_.String(event.text);
    refusal->limit = LimitIn(refusal->text);
    refusal->in_private_pools = PrivatePoolsIn(refusal->text);
    return;
  }
}

void Builder::OnPrivateSegment(const PrivateSegmentEvent& event) {
  Seen(event.time);
  PrivateSegment segment{.address = event.address,
                         .bytes = event.bytes,
                         .born = 0,
                         .taken = event.time,
                         .pool = event.pool,
                         .device = event.device};
  if (const int64_t index = ledger_.Find(event.address, event.device); index >= 0)
    segment.born = timeline_.device_allocations[static_cast<size_t>(index)].born;
  timeline_.private_segments.push_back(segment);
}

// The tensors that lie, or lay, in segments of private pools: those born since the segment was.
void Builder::AssignPrivatePools() {
  if (timeline_.private_segments.empty()) return;
  const PrivateSegments segments(timeline_.private_segments);
  for (Tensor& tensor : timeline_.tensors) {
    const PrivateSegment* segment = segments.Of(tensor.device, tensor.address, tensor.born);
    if (segment != nullptr)
      tensor.free_list = FreeListOf({timeline_.free_lists[tensor.free_list].stream, segment->pool});
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
  state.samples.Add({.time = event.time, .tensors = event.peak, .reserved = event.reserved});
  state.folded.push_back(event);
  timeline_.folded_until = std::max(timeline_.folded_until, event.end_time);
}

// Of its refusals it is the first after its last allocation: what fails while it unwinds is not the cause.
void Builder::OnThreadFailed(const ThreadFailedEvent& event) {
  Seen(event.time);
  const auto last = last_of_thread_.find(event.thread);
  const int64_t allocated = last == last_of_thread_.end() ? -1 : last->second;
  for (OutOfMemory& refusal : timeline_.out_of_memory) {
    if (refusal.thread != event.thread || refusal.time < allocated || refusal.thread_failed != kNever) continue;
    refusal.thread_failed = event.time;
    return;
  }
}

// It is told when the error is handled, soon after the refusal.
void Builder::OnModelMove(const ModelMoveEvent& event) {
  Seen(event.time);
  if (timeline_.out_of_memory.empty()) return;
  timeline_.out_of_memory.back().move = {.arrived = event.arrived, .left = event.left, .trainable = event.trainable};
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
  std::vector<LaunchAddress> addresses;
  uint64_t address = 0;
  for (const int64_t difference : event.address()) {
    address += static_cast<uint64_t>(difference);
    const int64_t tensor = TensorAt(address, static_cast<int32_t>(event.device()));
    const uint64_t begin = tensor >= 0 ? timeline_.tensors[static_cast<size_t>(tensor)].address : 0;
    addresses.push_back(PointsTo(address, tensor, begin));
  }
  gpu_.OnLaunch(time, event, interned_.Stack(event.stack()), std::move(addresses));
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

// A small budget keeps only as many phases as fit in a quarter of it; the fold has counted all ends of steps.
void Builder::CountLostSteps(const std::vector<FoldedStepsEvent>& folded) {
  int64_t ends = 0;
  for (const FoldedStepsEvent& span : folded) ends += span.steps;
  const int64_t recorded =
      std::count_if(step_ends_.begin(), step_ends_.end(), [&](int64_t time) { return time <= timeline_.folded_until; });
  const int64_t steps = StepsEndedBy(timeline_, timeline_.folded_until);
  // Several optimizers may end several times in what is one step.
  if (recorded > 0 && ends > recorded) timeline_.lost_steps = (ends - recorded) * steps / recorded;
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
  timeline_.folded_calls = state.folded_calls;
  timeline_.steps = steps_.Steps(timeline_.device);
  ApplyFoldedSteps(state.folded, &timeline_.steps);
  CountLostSteps(state.folded);
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
    if (!function.empty()) {
      timeline_.functions[{file->second.path, offset}] = function;
    } else {
      timeline_.nameless[file->second.path] = symbols.WhyNameless(file->second);
    }
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

// Of a pluggable allocator's null pointer PyTorch makes no exception: the program goes on until the CUDA error turns up
// at some later call. It died of it where it ended badly and completed no step any more.
int64_t Builder::LastProgressThatTells() const {
  const bool ended_badly = timeline_.exited && timeline_.exit_status != 0;
  if (!timeline_.pluggable || !ended_badly || timeline_.out_of_memory.empty()) return last_progress_;
  const int64_t refused = timeline_.out_of_memory.back().time;
  const bool stepped = !step_ends_.empty() && step_ends_.back() > refused;
  return stepped ? last_progress_ : std::min(last_progress_, refused);
}

Timeline Builder::Finish() {
  timeline_.backward_passes = steps_.backward_passes();
  timeline_.phases = machine_.TakeMarks();
  RelabelFunctionalForwards(functional_backwards_, &timeline_);
  JoinEvaluations(&timeline_);
  // Without tensors, that a later allocation succeeded, or that the program ended well, is all that tells.
  const bool ended_well = timeline_.exited && timeline_.exit_status == 0;
  const bool plain = timeline_.tensors.empty();
  const int64_t last_allocation = plain ? LastAllocationThatTells() : -1;
  MarkFatalRefusal(plain && ended_well ? kNever : std::max(LastProgressThatTells(), last_allocation), &timeline_);
  RelabelForwardInEvaluationMode(&timeline_);
  AssignPrivatePools();
  ChooseDevice();
  NameCallers();
  gpu_.Finish(&timeline_);
  timeline_.ranges = ranges_.Take();
  NumberSteps(&timeline_);
  SetFirstTrainingForward(&timeline_);
  return std::move(timeline_);
}

}  // namespace

Timeline BuildTimeline(TraceReader* reader, const SelectionLimits& limits, const Progress& progress) {
  LifeSurvey survey;
  reader->ReadEvents(&survey, PartOf(progress, 0, 0.5));
  const size_t tensors = survey.tensors();
  const Selection selection = survey.Select(limits);
  Builder builder(reader->tables(), tensors, selection);
  const int64_t events = reader->ReadEvents(&builder, PartOf(progress, 0.5, 1));
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

absl::StatusOr<Timeline> ReadTimeline(TraceReader* reader, const SelectionLimits& limits, const Progress& progress) {
  Timeline timeline = BuildTimeline(reader, limits, progress);
  if (timeline.events == 0 && !timeline.damage.empty()) {
    return absl::DataLossError(absl::StrCat(reader->name(), ": no event of it can be read: ", timeline.damage.front(),
                                            ". Copy the trace again, or record again"));
  }
  return timeline;
}

absl::StatusOr<Timeline> ReadTimeline(const std::string& path, const SelectionLimits& limits,
                                      const Progress& progress) {
  absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(path);
  if (!reader.ok()) return reader.status();
  return ReadTimeline(reader->get(), limits, progress);
}

}  // namespace oomtrace
