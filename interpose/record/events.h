// One function for each event of proto/trace.proto: encodes it into the thread's event chunk and commits it. Where the
// file has no room the event is dropped and counted.
//
// Called with the thread's Entry held (recorder.h). Addresses are device addresses, sizes are bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "interpose/record/compact_writer.h"
#include "interpose/record/recorder.h"
#include "interpose/record/wire.h"

namespace oomtrace {

struct DeviceCall {
  uint64_t address = 0;
  uint64_t bytes = 0;
  Attribution attribution;  // of the tensor, where PyTorch asks the device for each one
  uint32_t library = 0;
  uint32_t api = 0;
  uint32_t device = 0;
  uint32_t result = 0;
  wire::MemoryKind kind = wire::MemoryKind::kDevice;
  uint64_t stream = 0;
  uint64_t handle = 0;
  uint64_t cuda_context = 0;
  uint64_t caller = 0;  // offset in the library's file
};

struct Refusal {
  wire::OutOfMemorySource source = wire::OutOfMemorySource::kTorchReport;
  uint64_t bytes = 0;
  uint32_t device = 0;
  uint64_t allocated = 0;
  uint64_t reserved = 0;
  uint64_t device_free = 0;
  uint64_t device_total = 0;
};

struct Role {
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint32_t role = 0;  // TensorRole.Role
  uint32_t name = 0;
  uint64_t owner = 0;
  uint32_t device = 0;
};

struct GpuProcess {
  uint32_t pid = 0;
  uint64_t bytes = 0;
  bool self = false;
  char name[64] = {};
};

inline void RecordTensorAlloc(ThreadState& thread, uint64_t address, uint64_t bytes, uint32_t device, uint64_t reserved,
                              const Attribution& attribution) {
  if (!WriteCompactAlloc(thread.events, {Ticks(), address, bytes, reserved, device}, attribution))
    thread.recorder->CountDropped();
}
inline void RecordTensorFree(ThreadState& thread, uint64_t address, uint32_t device, uint64_t reserved) {
  if (!WriteCompactFree(thread.events, {Ticks(), address, 0, reserved, device})) thread.recorder->CountDropped();
}

// The lowest and the highest address of what devices have given so far: where a kernel's parameter may point to.
struct DeviceRange {
  std::atomic<uint64_t> begin;  // 0: nothing yet
  std::atomic<uint64_t> end;
  bool Contains(uint64_t address) const {
    return address >= begin.load(std::memory_order_relaxed) && address < end.load(std::memory_order_relaxed);
  }
};
extern DeviceRange device_range;

void RecordDeviceAlloc(ThreadState& thread, uint64_t ticks, const DeviceCall& call);
void RecordDeviceFree(ThreadState& thread, uint64_t ticks, const DeviceCall& call);
void RecordMemoryInfo(ThreadState& thread, uint32_t device, uint64_t free, uint64_t total);
void RecordPhase(ThreadState& thread, wire::Phase kind, uint64_t object);
void RecordHostCopy(ThreadState& thread, uint64_t address, uint64_t bytes, uint32_t device);
void RecordOutOfMemory(ThreadState& thread, const Refusal& refusal, const Attribution& attribution);
// `text`: the exception's, of the refusal that this thread recorded last.
void RecordRefusalText(ThreadState& thread, uint32_t text, uint32_t device);
// A segment of the caching allocator that is a private pool's; pools count from 1.
void RecordPrivateSegment(ThreadState& thread, uint64_t address, uint64_t bytes, uint32_t pool, uint32_t device);
void RecordTensorRole(ThreadState& thread, const Role& role);
void RecordGpuProcesses(ThreadState& thread, uint32_t device, uint64_t used, uint64_t total,
                        const GpuProcess* processes, uint32_t count);
void RecordHolder(ThreadState& thread, uint64_t address, uint32_t path);
void RecordExit(ThreadState& thread, int32_t status);
// The calling thread ends of an out-of-memory error.
void RecordThreadFailed(ThreadState& thread);
// Of a module that was on its way to a device when memory ran out, in bytes.
void RecordModelMove(ThreadState& thread, uint64_t arrived, uint64_t left, uint64_t trainable);

}  // namespace oomtrace
