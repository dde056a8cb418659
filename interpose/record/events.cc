#include "interpose/record/events.h"

namespace oomtrace {
namespace {

// Largest event without lists: a tag and a length, then at most 14 fields of a tag and a 10-byte varint.
constexpr size_t kLargestEvent = 2 + 15 * 11;

template <typename Fill>
void Record(ThreadState& thread, uint32_t field, Fill fill, size_t most = kLargestEvent, uint64_t ticks = 0) {
  uint8_t* room = thread.events.Room(most);
  if (room == nullptr) {
    thread.recorder->CountDropped();
    return;
  }
  ProtoWriter proto(room, most);
  uint8_t* message = proto.Begin(field);
  proto.Uint(1, thread.events.TicksSince(ticks != 0 ? ticks : Ticks()));
  fill(proto);
  proto.End(message);
  if (proto.ok()) {
    thread.events.Commit(proto.position());
  } else {
    thread.recorder->CountDropped();
  }
}

void Widen(const DeviceCall& call) {
  if (call.result != 0 || call.address == 0) return;
  const uint64_t begin = device_range.begin.load(std::memory_order_relaxed);
  if (begin == 0 || call.address < begin) device_range.begin.store(call.address, std::memory_order_relaxed);
  const uint64_t end = call.address + call.bytes;
  if (end > device_range.end.load(std::memory_order_relaxed)) device_range.end.store(end, std::memory_order_relaxed);
}

}  // namespace

constinit DeviceRange device_range = {};

void RecordDeviceAlloc(ThreadState& thread, uint64_t ticks, const DeviceCall& call) {
  Widen(call);
  Record(
      thread, wire::kDeviceAlloc,
      [&](ProtoWriter& proto) {
        proto.Sint(2, thread.events.BlockDelta(call.address));
        proto.Uint(3, call.bytes);
        proto.Uint(4, call.attribution.stack);
        proto.Uint(5, call.library);
        proto.Uint(6, call.api);
        proto.Uint(7, call.device);
        proto.Uint(8, call.result);
        proto.Uint(9, call.attribution.layout);
        proto.Uint(10, call.attribution.context);
        proto.Uint(11, static_cast<uint32_t>(call.kind));
        proto.Uint(12, call.stream);
        proto.Uint(13, call.handle);
        proto.Uint(14, call.cuda_context);
        proto.Uint(17, call.caller);
      },
      kLargestEvent, ticks);
}

void RecordDeviceFree(ThreadState& thread, uint64_t ticks, const DeviceCall& call) {
  Record(
      thread, wire::kDeviceFree,
      [&](ProtoWriter& proto) {
        proto.Sint(2, thread.events.BlockDelta(call.address));
        proto.Uint(5, call.library);
        proto.Uint(6, call.api);
        proto.Uint(7, call.device);
        proto.Uint(11, static_cast<uint32_t>(call.kind));
        proto.Uint(12, call.stream);
        proto.Uint(13, call.bytes);
      },
      kLargestEvent, ticks);
}

void RecordMemoryInfo(ThreadState& thread, uint32_t device, uint64_t free, uint64_t total) {
  Record(thread, wire::kMemoryInfo, [&](ProtoWriter& proto) {
    proto.Uint(7, device);
    proto.Uint(8, free);
    proto.Uint(9, total);
  });
}

void RecordPhase(ThreadState& thread, wire::Phase kind, uint64_t object) {
  Record(thread, wire::kPhase, [&](ProtoWriter& proto) {
    proto.Uint(2, static_cast<uint32_t>(kind));
    proto.Uint(3, object);
  });
}

void RecordHostCopy(ThreadState& thread, uint64_t address, uint64_t bytes, uint32_t device) {
  Record(thread, wire::kHostCopy, [&](ProtoWriter& proto) {
    proto.Sint(2, thread.events.BlockDelta(address));
    proto.Uint(3, bytes);
    proto.Uint(7, device);
  });
}

void RecordOutOfMemory(ThreadState& thread, const Refusal& refusal, const Attribution& attribution) {
  Record(thread, wire::kOutOfMemory, [&](ProtoWriter& proto) {
    proto.Uint(2, static_cast<uint32_t>(refusal.source));
    proto.Uint(3, refusal.bytes);
    proto.Uint(4, attribution.stack);
    proto.Uint(5, attribution.layout);
    proto.Uint(6, attribution.context);
    proto.Uint(7, refusal.device);
    proto.Uint(8, refusal.allocated);
    proto.Uint(9, refusal.reserved);
    proto.Uint(10, refusal.device_free);
    proto.Uint(11, refusal.device_total);
    proto.Uint(12, thread.events.thread());
  });
}

void RecordRefusalText(ThreadState& thread, uint32_t text, uint32_t device) {
  Record(thread, wire::kRefusalText, [&](ProtoWriter& proto) {
    proto.Uint(2, text);
    proto.Uint(7, device);
  });
}

void RecordPrivateSegment(ThreadState& thread, uint64_t address, uint64_t bytes, uint32_t pool, uint32_t device) {
  Record(thread, wire::kPrivateSegment, [&](ProtoWriter& proto) {
    proto.Sint(2, thread.events.BlockDelta(address));
    proto.Uint(3, bytes);
    proto.Uint(4, pool);
    proto.Uint(7, device);
  });
}

void RecordTensorRole(ThreadState& thread, const Role& role) {
  Record(thread, wire::kTensorRole, [&](ProtoWriter& proto) {
    proto.Sint(2, thread.events.BlockDelta(role.address));
    proto.Uint(3, role.bytes);
    proto.Uint(4, role.role);
    proto.Uint(5, role.name);
    proto.Uint(6, role.owner);
    proto.Uint(7, role.device);
  });
}

void RecordGpuProcesses(ThreadState& thread, uint32_t device, uint64_t used, uint64_t total,
                        const GpuProcess* processes, uint32_t count) {
  Record(
      thread, wire::kGpuProcesses,
      [&](ProtoWriter& proto) {
        proto.Uint(2, device);
        proto.Uint(3, used);
        proto.Uint(4, total);
        for (uint32_t i = 0; i < count; ++i) {
          uint8_t* entry = proto.Begin(5);
          proto.Uint(1, processes[i].pid);
          proto.Uint(2, processes[i].bytes);
          proto.Bool(3, processes[i].self);
          proto.Text(4, processes[i].name);
          proto.End(entry);
        }
      },
      kLargestEvent + count * (sizeof(GpuProcess) + 32));
}

void RecordHolder(ThreadState& thread, uint64_t address, uint32_t path) {
  Record(thread, wire::kHolder, [&](ProtoWriter& proto) {
    proto.Sint(2, thread.events.BlockDelta(address));
    proto.Uint(3, path);
  });
}

void RecordThreadFailed(ThreadState& thread) {
  Record(thread, wire::kThreadFailed, [&](ProtoWriter& proto) { proto.Uint(2, thread.events.thread()); });
}

void RecordModelMove(ThreadState& thread, uint64_t arrived, uint64_t left, uint64_t trainable) {
  Record(thread, wire::kModelMove, [&](ProtoWriter& proto) {
    proto.Uint(2, arrived);
    proto.Uint(3, left);
    proto.Uint(4, trainable);
  });
}

void RecordExit(ThreadState& thread, int32_t status) {
  Record(thread, wire::kExit, [&](ProtoWriter& proto) { proto.Int(2, status); });
}

}  // namespace oomtrace
