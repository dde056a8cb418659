// The events of the GPU timeline and of NVTX (proto/trace.proto): as events.h, for what a collector hands over and for
// launches in a window.
//
// Called with the thread's Entry held. Times are nanoseconds since the collector's start.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/record/recorder.h"

namespace oomtrace {

struct CollectorStateEvent {
  uint64_t ticks = 0;
  uint32_t state = 0;
  uint32_t reason = 0;  // String.id
  uint32_t version = 0;
  uint64_t dropped = 0;
  uint64_t device_bytes = 0;
  uint64_t host_bytes = 0;
  uint64_t untimed = 0;
};

struct GpuActivityEvent {
  uint32_t kind = 0;
  uint32_t correlation = 0;
  uint64_t start = 0;
  uint64_t duration = 0;
  uint32_t stream = 0;
  uint32_t device = 0;
  uint32_t name = 0;  // String.id
  uint64_t bytes = 0;
  uint64_t local_memory = 0;
  uint32_t graph = 0;
};

struct CuptiMemoryEvent {
  uint64_t address = 0;
  uint64_t bytes = 0;
  bool release = false;
  uint32_t kind = 0;
  uint64_t time = 0;
  uint32_t device = 0;
  uint32_t name = 0;    // String.id
  uint32_t source = 0;  // Library.id
  uint64_t pool_reserved = 0;
  uint64_t pool_used = 0;
};

struct GpuResourceEvent {
  uint32_t kind = 0;
  uint64_t identity = 0;
  uint64_t bytes = 0;
  uint64_t time = 0;
  uint64_t duration = 0;
  uint32_t device = 0;
  uint32_t detail = 0;
};

struct LaunchEvent {
  static constexpr size_t kMostAddresses = 1024;
  uint64_t ticks = 0;
  uint64_t id = 0;
  uint32_t stack = 0;
  uint32_t device = 0;
  bool unknown = false;
  bool cut = false;
  bool again = false;                   // the first address stands among the parameters more than once
  uint32_t written = 0;                 // so many of the first addresses are only written
  const uint64_t* addresses = nullptr;  // in the order of the parameters
  size_t count = 0;
};

void RecordCollectorState(ThreadState& thread, const CollectorStateEvent& event);
void RecordGpuActivity(ThreadState& thread, const GpuActivityEvent& event);
void RecordLaunch(ThreadState& thread, const LaunchEvent& event);
void RecordCuptiMemory(ThreadState& thread, const CuptiMemoryEvent& event);
void RecordCollectorClock(ThreadState& thread, uint64_t ticks, uint64_t time);
void RecordGpuResource(ThreadState& thread, const GpuResourceEvent& event);
void RecordCorrelation(ThreadState& thread, uint64_t launch, uint32_t correlation);
void RecordNvtxRange(ThreadState& thread, uint32_t kind, uint32_t name, uint64_t range);

}  // namespace oomtrace
