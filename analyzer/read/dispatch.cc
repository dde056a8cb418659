#include "analyzer/read/dispatch.h"

#include <algorithm>

#include "trace.pb.h"

namespace oomtrace {
namespace {

using Fields = trace::Chunk;

// The decoder has checked sizes, ids and devices against their ranges: Plausible() in record.h.
int64_t Size(const Record& record, uint32_t number) { return static_cast<int64_t>(record.field[number]); }
uint32_t Id(const Record& record, uint32_t number) { return static_cast<uint32_t>(record.field[number]); }
int32_t DeviceOf(const Record& record) { return static_cast<int32_t>(record.field[7]); }

void TensorAlloc(const ChunkCursor& cursor, int64_t time, EventSink* sink) {
  const Record& record = cursor.record();
  sink->OnTensorAlloc({.time = time,
                       .address = record.address,
                       .bytes = Size(record, 3),
                       .stack = Id(record, 4),
                       .layout = Id(record, 5),
                       .context = Id(record, 6),
                       .device = DeviceOf(record),
                       .reserved = cursor.reserved(),
                       .thread = cursor.thread()});
}

void TensorFree(const ChunkCursor& cursor, int64_t time, EventSink* sink) {
  const Record& record = cursor.record();
  sink->OnTensorFree({.time = time,
                      .address = record.address,
                      .bytes = Size(record, 3),
                      .device = DeviceOf(record),
                      .reserved = cursor.reserved()});
}

void DeviceAlloc(const ChunkCursor& cursor, int64_t time, EventSink* sink) {
  const Record& record = cursor.record();
  sink->OnDeviceAlloc({.time = time,
                       .address = record.address,
                       .bytes = Size(record, 3),
                       .stack = Id(record, 4),
                       .library = Id(record, 5),
                       .api = Id(record, 6),
                       .device = DeviceOf(record),
                       .result = Id(record, 8),
                       .layout = Id(record, 9),
                       .context = Id(record, 10),
                       .kind = static_cast<trace::MemoryKind>(record.field[11]),
                       .stream = record.field[12],
                       .handle = record.field[13],
                       .cuda_context = record.field[14],
                       .caller = record.field[17],
                       .thread = cursor.thread()});
}

void OutOfMemory(const Record& record, int64_t time, EventSink* sink) {
  sink->OnOutOfMemory({.time = time,
                       .source = static_cast<trace::OutOfMemory::Source>(record.field[2]),
                       .bytes = Size(record, 3),
                       .stack = Id(record, 4),
                       .layout = Id(record, 5),
                       .context = Id(record, 6),
                       .device = DeviceOf(record),
                       .allocated = Size(record, 8),
                       .reserved = Size(record, 9),
                       .device_free = Size(record, 10),
                       .device_total = Size(record, 11),
                       .thread = Id(record, 12)});
}

void TensorRole(const Record& record, int64_t time, EventSink* sink) {
  sink->OnTensorRole({.time = time,
                      .address = record.address,
                      .bytes = Size(record, 3),
                      .role = static_cast<trace::TensorRole::Role>(record.field[4]),
                      .name = Id(record, 5),
                      .owner = record.field[6],
                      .device = DeviceOf(record),
                      .layout = Id(record, 8)});
}

void FoldedSteps(const Record& record, int64_t time, const TickClock& clock, EventSink* sink) {
  sink->OnFoldedSteps({.time = time,
                       .end_time = std::max(time, clock.Nanoseconds(record.ticks + record.field[5])),
                       .peak = Size(record, 2),
                       .reserved = Size(record, 3),
                       .live = Size(record, 4),
                       .steps = Size(record, 6),
                       .device = DeviceOf(record)});
}

// Events of a GPU timeline are few beside the allocator's: the generated classes decode them.
template <typename Event, typename Hand>
bool Parsed(const Record& record, Hand hand) {
  Event event;
  if (!event.ParseFromArray(record.bytes.data(), static_cast<int>(record.bytes.size()))) return false;
  hand(event);
  return true;
}

bool GpuProcesses(const Record& record, int64_t time, EventSink* sink) {
  trace::GpuProcesses message;
  if (!message.ParseFromArray(record.bytes.data(), static_cast<int>(record.bytes.size()))) return false;
  sink->OnGpuProcesses(time, message);
  return true;
}

}  // namespace

bool Dispatch(const ChunkCursor& cursor, int64_t time, const TickClock& clock, EventSink* sink) {
  const Record& record = cursor.record();
  switch (record.type) {
    case Fields::kTensorAllocFieldNumber:
      TensorAlloc(cursor, time, sink);
      return true;
    case Fields::kTensorFreeFieldNumber:
      TensorFree(cursor, time, sink);
      return true;
    case Fields::kDeviceAllocFieldNumber:
      DeviceAlloc(cursor, time, sink);
      return true;
    case Fields::kDeviceFreeFieldNumber:
      sink->OnDeviceFree({time, record.address, Id(record, 5), Id(record, 6), DeviceOf(record),
                          static_cast<trace::MemoryKind>(record.field[11]), Size(record, 13)});
      return true;
    case Fields::kMemoryInfoFieldNumber:
      sink->OnMemoryInfo({time, DeviceOf(record), Size(record, 8), Size(record, 9)});
      return true;
    case Fields::kPhaseFieldNumber:
      sink->OnPhase({time, static_cast<trace::Phase::Kind>(record.field[2]), record.field[3], cursor.thread()});
      return true;
    case Fields::kHostCopyFieldNumber:
      sink->OnHostCopy({time, record.address, Size(record, 3), DeviceOf(record)});
      return true;
    case Fields::kOutOfMemoryFieldNumber:
      OutOfMemory(record, time, sink);
      return true;
    case Fields::kRefusalTextFieldNumber:
      sink->OnRefusalText({time, Id(record, 2), DeviceOf(record)});
      return true;
    case Fields::kPrivateSegmentFieldNumber:
      sink->OnPrivateSegment({time, record.address, Size(record, 3), Id(record, 4), DeviceOf(record)});
      return true;
    case Fields::kFoldedCallsFieldNumber:
      sink->OnFoldedCalls({time, Size(record, 2), Size(record, 3), DeviceOf(record)});
      return true;
    case Fields::kTensorRoleFieldNumber:
      TensorRole(record, time, sink);
      return true;
    case Fields::kGpuProcessesFieldNumber:
      return GpuProcesses(record, time, sink);
    case Fields::kHolderFieldNumber:
      sink->OnHolder({time, record.address, Id(record, 3)});
      return true;
    case Fields::kFoldedStepsFieldNumber:
      FoldedSteps(record, time, clock, sink);
      return true;
    case Fields::kThreadFailedFieldNumber:
      sink->OnThreadFailed({time, Id(record, 2)});
      return true;
    case Fields::kModelMoveFieldNumber:
      sink->OnModelMove({time, Size(record, 2), Size(record, 3), Size(record, 4)});
      return true;
    case Fields::kExitFieldNumber:
      sink->OnExit({time, static_cast<int64_t>(static_cast<int32_t>(record.field[2]))});
      return true;
    case Fields::kCollectorStateFieldNumber:
      return Parsed<trace::CollectorState>(record, [&](const auto& event) { sink->OnCollectorState(time, event); });
    case Fields::kCollectorClockFieldNumber:
      return Parsed<trace::CollectorClock>(record, [&](const auto& event) { sink->OnCollectorClock(time, event); });
    case Fields::kGpuActivityFieldNumber:
      return Parsed<trace::GpuActivity>(record, [&](const auto& event) { sink->OnGpuActivity(event); });
    case Fields::kLaunchFieldNumber:
      return Parsed<trace::Launch>(record, [&](const auto& event) { sink->OnLaunch(time, event); });
    case Fields::kCorrelationFieldNumber:
      return Parsed<trace::Correlation>(record, [&](const auto& event) { sink->OnCorrelation(event); });
    case Fields::kCuptiMemoryFieldNumber:
      return Parsed<trace::CuptiMemory>(record, [&](const auto& event) { sink->OnCuptiMemory(event); });
    case Fields::kGpuResourceFieldNumber:
      return Parsed<trace::GpuResource>(record, [&](const auto& event) { sink->OnGpuResource(event); });
    case Fields::kNvtxRangeFieldNumber:
      return Parsed<trace::NvtxRange>(record,
                                      [&](const auto& event) { sink->OnNvtxRange(time, cursor.thread(), event); });
    default:
      return false;
  }
}

}  // namespace oomtrace
