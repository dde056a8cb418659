// The events of a trace as its reader hands them on: decoded, in order of time, of all threads.
//
// Times are nanoseconds since the start of the trace; sizes are bytes; addresses are device addresses; stack, layout,
// context, library and string ids refer to Tables (0: none). proto/trace.proto says what each event means.
#pragma once

#include <cstdint>

#include "trace.pb.h"

namespace oomtrace {

struct TensorAllocEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
  int32_t device = 0;
  int64_t reserved = 0;  // -1: not known to this chunk
  uint32_t thread = 0;   // 0: folded away
};

struct TensorFreeEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;  // 0: not said (compact events)
  int32_t device = 0;
  int64_t reserved = 0;  // -1: not known to this chunk
};

struct DeviceAllocEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  uint32_t stack = 0;
  uint32_t library = 0;
  uint32_t api = 0;
  int32_t device = 0;
  uint32_t result = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
  trace::MemoryKind kind = trace::DEVICE;
  uint64_t stream = 0;
  uint64_t handle = 0;
  uint64_t cuda_context = 0;
  uint64_t caller = 0;  // offset of the return address in the library's file, 0: not known
  uint32_t thread = 0;
};

struct DeviceFreeEvent {
  int64_t time = 0;
  uint64_t address = 0;
  uint32_t library = 0;
  uint32_t api = 0;
  int32_t device = 0;
  trace::MemoryKind kind = trace::DEVICE;
  int64_t bytes = 0;  // of an unmapped range
};

struct MemoryInfoEvent {
  int64_t time = 0;
  int32_t device = 0;
  int64_t free = 0;
  int64_t total = 0;
};

struct PhaseEvent {
  int64_t time = 0;
  trace::Phase::Kind kind = trace::Phase::KIND_UNSPECIFIED;
  uint64_t object = 0;
  uint32_t thread = 0;
};

struct HostCopyEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  int32_t device = 0;
};

struct OutOfMemoryEvent {
  int64_t time = 0;
  trace::OutOfMemory::Source source = trace::OutOfMemory::SOURCE_UNSPECIFIED;
  int64_t bytes = 0;
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
  int32_t device = 0;
  int64_t allocated = 0;
  int64_t reserved = 0;
  int64_t device_free = 0;
  int64_t device_total = 0;
  uint32_t thread = 0;  // 0: not said
};

struct RefusalTextEvent {
  int64_t time = 0;
  uint32_t text = 0;
  int32_t device = 0;
};

struct PrivateSegmentEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  uint32_t pool = 0;
  int32_t device = 0;
};

struct FoldedCallsEvent {
  int64_t time = 0;  // up to which they are counted
  int64_t made = 0;
  int64_t freed = 0;
  int32_t device = 0;
};

struct TensorRoleEvent {
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  trace::TensorRole::Role role = trace::TensorRole::ROLE_UNSPECIFIED;
  uint32_t name = 0;
  uint64_t owner = 0;
  int32_t device = 0;
  uint32_t layout = 0;
};

struct HolderEvent {
  int64_t time = 0;
  uint64_t address = 0;
  uint32_t path = 0;
};

// Of an out-of-memory error.
struct ThreadFailedEvent {
  int64_t time = 0;
  uint32_t thread = 0;
};

// A module was on its way to a device when memory ran out. In bytes.
struct ModelMoveEvent {
  int64_t time = 0;
  int64_t arrived = 0;
  int64_t left = 0;
  int64_t trainable = 0;  // of both
};

struct ExitEvent {
  int64_t time = 0;
  int64_t status = 0;
};

// How memory went in steps that were folded away. `time` is when the peak was.
struct FoldedStepsEvent {
  int64_t time = 0;
  int64_t end_time = 0;
  int64_t peak = 0;
  int64_t reserved = 0;
  int64_t live = 0;
  int64_t steps = 0;
  int32_t device = 0;
};

// Receives the events in order of time. Every method does nothing unless overridden. Called on the thread that reads.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnTensorAlloc(const TensorAllocEvent& event) {}
  virtual void OnTensorFree(const TensorFreeEvent& event) {}
  virtual void OnDeviceAlloc(const DeviceAllocEvent& event) {}
  virtual void OnDeviceFree(const DeviceFreeEvent& event) {}
  virtual void OnMemoryInfo(const MemoryInfoEvent& event) {}
  virtual void OnPhase(const PhaseEvent& event) {}
  virtual void OnHostCopy(const HostCopyEvent& event) {}
  virtual void OnOutOfMemory(const OutOfMemoryEvent& event) {}
  virtual void OnRefusalText(const RefusalTextEvent& event) {}
  virtual void OnPrivateSegment(const PrivateSegmentEvent& event) {}
  virtual void OnFoldedCalls(const FoldedCallsEvent& event) {}
  virtual void OnTensorRole(const TensorRoleEvent& event) {}
  virtual void OnGpuProcesses(int64_t time, const trace::GpuProcesses& event) {}
  virtual void OnHolder(const HolderEvent& event) {}
  virtual void OnFoldedSteps(const FoldedStepsEvent& event) {}
  virtual void OnThreadFailed(const ThreadFailedEvent& event) {}
  virtual void OnModelMove(const ModelMoveEvent& event) {}
  virtual void OnExit(const ExitEvent& event) {}
  // Of a GPU timeline. Their own times are the collector's, see trace.proto.
  virtual void OnCollectorState(int64_t time, const trace::CollectorState& event) {}
  virtual void OnCollectorClock(int64_t time, const trace::CollectorClock& event) {}
  virtual void OnGpuActivity(const trace::GpuActivity& event) {}
  virtual void OnLaunch(int64_t time, const trace::Launch& event) {}
  virtual void OnCorrelation(const trace::Correlation& event) {}
  virtual void OnCuptiMemory(const trace::CuptiMemory& event) {}
  virtual void OnGpuResource(const trace::GpuResource& event) {}
  virtual void OnNvtxRange(int64_t time, uint32_t thread, const trace::NvtxRange& event) {}
};

}  // namespace oomtrace
