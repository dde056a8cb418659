#include "interpose/record/gpu_events.h"

#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

// A tag and a length, then at most 11 fields of a tag and a 10-byte varint.
constexpr size_t kLargestEvent = 3 + 11 * 11;
// Of an address in a list: differences of 48-bit addresses.
constexpr size_t kLargestAddress = 8;

template <typename Fill>
void Record(ThreadState& thread, uint32_t field, uint64_t ticks, Fill fill, size_t most = kLargestEvent) {
  uint8_t* room = thread.events.Room(most);
  if (room == nullptr) {
    thread.recorder->CountDropped();
    return;
  }
  ProtoWriter proto(room, most);
  uint8_t* message = proto.Begin(field);
  proto.Uint(1, thread.events.TicksSince(ticks));
  fill(proto);
  proto.End(message);
  if (proto.ok()) {
    thread.events.Commit(proto.position());
  } else {
    thread.recorder->CountDropped();
  }
}

}  // namespace

void RecordCollectorState(ThreadState& thread, const CollectorStateEvent& event) {
  Record(thread, wire::kCollectorState, event.ticks, [&](ProtoWriter& proto) {
    proto.Uint(2, event.state);
    proto.Uint(3, event.reason);
    proto.Uint(4, event.version);
    proto.Uint(5, event.dropped);
    proto.Uint(6, event.device_bytes);
    proto.Uint(8, event.host_bytes);
    proto.Uint(9, event.untimed);
  });
}

void RecordGpuActivity(ThreadState& thread, const GpuActivityEvent& event) {
  Record(thread, wire::kGpuActivity, Ticks(), [&](ProtoWriter& proto) {
    proto.Uint(2, event.kind);
    proto.Uint(3, event.correlation);
    proto.Uint(4, event.start);
    proto.Uint(5, event.duration);
    proto.Uint(6, event.stream);
    proto.Uint(7, event.device);
    proto.Uint(8, event.name);
    proto.Uint(9, event.bytes);
    proto.Uint(10, event.local_memory);
    proto.Uint(11, event.graph);
  });
}

void RecordLaunch(ThreadState& thread, const LaunchEvent& event) {
  Record(
      thread, wire::kLaunch, event.ticks,
      [&](ProtoWriter& proto) {
        proto.Uint(2, event.id);
        proto.Uint(3, event.stack);
        proto.Bool(4, event.unknown);
        proto.Bool(5, event.cut);
        if (event.count > 0) {
          uint8_t* list = proto.Begin(6);
          uint64_t last = 0;
          for (size_t i = 0; i < event.count; ++i) {
            proto.Packed(ProtoWriter::ZigZag(static_cast<int64_t>(event.addresses[i] - last)));
            last = event.addresses[i];
          }
          proto.End(list);
        }
        proto.Uint(7, event.device);
        proto.Uint(8, event.written);
        proto.Bool(9, event.again);
      },
      kLargestEvent + event.count * kLargestAddress);
}

void RecordCuptiMemory(ThreadState& thread, const CuptiMemoryEvent& event) {
  Record(thread, wire::kCuptiMemory, Ticks(), [&](ProtoWriter& proto) {
    proto.Uint(2, event.address);
    proto.Uint(3, event.bytes);
    proto.Bool(4, event.release);
    proto.Uint(5, event.kind);
    proto.Uint(6, event.time);
    proto.Uint(7, event.device);
    proto.Uint(8, event.name);
    proto.Uint(9, event.source);
    proto.Uint(10, event.pool_reserved);
    proto.Uint(11, event.pool_used);
  });
}

void RecordCollectorClock(ThreadState& thread, uint64_t ticks, uint64_t time) {
  Record(thread, wire::kCollectorClock, ticks, [&](ProtoWriter& proto) { proto.Uint(2, time); });
}

void RecordGpuResource(ThreadState& thread, const GpuResourceEvent& event) {
  Record(thread, wire::kGpuResource, Ticks(), [&](ProtoWriter& proto) {
    proto.Uint(2, event.kind);
    proto.Uint(3, event.identity);
    proto.Uint(4, event.bytes);
    proto.Uint(5, event.time);
    proto.Uint(6, event.duration);
    proto.Uint(7, event.device);
    proto.Uint(8, event.detail);
  });
}

void RecordCorrelation(ThreadState& thread, uint64_t launch, uint32_t correlation) {
  Record(thread, wire::kCorrelation, Ticks(), [&](ProtoWriter& proto) {
    proto.Uint(2, launch);
    proto.Uint(3, correlation);
  });
}

void RecordNvtxRange(ThreadState& thread, uint32_t kind, uint32_t name, uint64_t range) {
  Record(thread, wire::kNvtxRange, Ticks(), [&](ProtoWriter& proto) {
    proto.Uint(2, kind);
    proto.Uint(3, name);
    proto.Uint(4, range);
  });
}

}  // namespace oomtrace
