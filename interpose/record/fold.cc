#include "interpose/record/fold.h"

#include <algorithm>
#include <new>

#include "interpose/record/compact_writer.h"
#include "interpose/record/memory.h"
#include "interpose/record/test_point.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

constexpr size_t kLargestMessage = LiveMessage::kMost + 32;  // with a tag, a length, ticks and a block
constexpr size_t kLargestSpan = 96;                          // eight fields of a tag and a varint

}  // namespace

// One event to write: the birth of a block, its role, the arrival of its host data, a span of steps, a reading of free
// memory, a count of device calls.
struct Fold::Record {
  uint64_t ticks;
  const LiveBlock* block;
  const StepSpan* span;
  uint32_t kind;
  uint32_t device;  // of a span, a reading, a count
};

uint64_t Fold::Spare(uint64_t budget_chunks) { return std::clamp<uint64_t>(budget_chunks / 8, 3, 64); }

Fold* Fold::Make(TraceFile* file) {
  void* memory = MapMemory(sizeof(Fold));
  if (memory == nullptr) return nullptr;
  Fold* fold = static_cast<Fold*>(memory);  // zeroed memory is its initial state; its tables are large
  new (&fold->writer_) ChunkWriter();
  new (&fold->kept_) ChunkWriter();
  fold->file_ = file;
  fold->live_.BindSites(file->sites_);
  fold->kept_.BindLocked(file, ChunkKind::kFold, 0);
  return fold;
}

// The sealed event chunks that ended first; the horizon is the last end among them.
bool Fold::ChooseBatch() {
  const uint64_t most =
      std::clamp<uint64_t>(2 * ChunksOf(generation_), kFewestChunks,
                           std::clamp<uint64_t>(file_->budget_chunks_ / 8, kFewestChunks, kMostChunks));
  const auto ends = [&](uint64_t index) { return file_->slots_[index].sealed_ticks; };
  batch_size_ = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kEvents || slot.held) continue;
    if (batch_size_ == most && ends(i) >= ends(batch_[batch_size_ - 1])) continue;
    if (batch_size_ < most) ++batch_size_;
    batch_[batch_size_ - 1] = i;
    for (uint64_t at = batch_size_ - 1; at > 0 && ends(batch_[at]) < ends(batch_[at - 1]); --at)
      std::swap(batch_[at], batch_[at - 1]);
  }
  if (batch_size_ < kFewestChunks) return false;
  until_ = ends(batch_[batch_size_ - 1]);
  return true;
}

bool Fold::TakeIn() {
  const ChunkHeader* chunks[LiveSet::kMostSources];
  size_t count = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kEvents || slot.base_ticks > until_) continue;
    if (count == LiveSet::kMostSources) return false;
    chunks[count++] = file_->At(i);
  }
  return live_.Advance(chunks, count, until_);
}

void Fold::FoldOldest() {
  if (broken_ || !ChooseBatch()) return;
  const uint64_t events_before = live_.events();
  OOMTRACE_TEST_POINT("fold: batch chosen");
  const bool complete = TakeIn();
  OOMTRACE_TEST_POINT("fold: taken in");
  ++generation_;
  if (!complete || !WriteGeneration()) {
    Discard(generation_);  // the live set is ahead of the trace from here on
    broken_ = true;
    return;
  }
  OOMTRACE_TEST_POINT("fold: generation written");
  WriteKept();
  OOMTRACE_TEST_POINT("fold: kept events written");
  TraceHeader& header = *file_->header_;
  header.fold_horizon[generation_ % 2].store(until_, std::memory_order_relaxed);
  OOMTRACE_TEST_POINT("fold: horizon written");
  header.fold_generation.store(generation_, std::memory_order_release);
  OOMTRACE_TEST_POINT("fold: counts");
  header.folded_events.fetch_add(live_.events() - events_before, std::memory_order_relaxed);
  OOMTRACE_TEST_POINT("fold: events counted");
  Discard(generation_ - 1);
  OOMTRACE_TEST_POINT("fold: last generation gone");
  for (uint64_t i = 0; i < batch_size_; ++i) file_->Release(batch_[i]);
}

void Fold::Discard(uint32_t generation) {
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kFold) continue;
    if (generation != 0 && slot.generation == generation) file_->Release(i);
  }
}

bool Fold::WriteGeneration() {
  const size_t most = live_.used() * 3 + StepSpans::kDevices * (StepSpans::kMost + 3);
  auto* records = static_cast<Record*>(MapMemory(most * sizeof(Record)));
  if (records == nullptr) return false;
  size_t count = 0;
  const auto add = [&](uint64_t ticks, const LiveBlock& block, uint32_t kind) {
    records[count++] = {ticks, &block, nullptr, kind, 0};
  };
  live_.ForEachLive([&](const LiveBlock& block) {
    add(block.ticks, block, block.device_level ? wire::kDeviceAlloc : wire::kTensorAlloc);
    if (!block.device_level && block.message != 0) add(live_.message(block.message).ticks, block, wire::kTensorRole);
    if (block.host_copy != 0) add(live_.message(block.host_copy).ticks, block, wire::kHostCopy);
  });
  StepSpan open[StepSpans::kDevices];
  const auto add_span = [&](uint32_t device, const StepSpan& span) {
    records[count++] = {span.peak_ticks, nullptr, &span, wire::kFoldedSteps, device};
  };
  live_.spans().ForEach(add_span);
  live_.spans().ForEachOpen(until_, [&](uint32_t device, const StepSpan& span) {
    open[device] = span;
    add_span(device, open[device]);
  });
  for (uint32_t device = 0; device < StepSpans::kDevices; ++device) {
    const uint64_t ticks = live_.memory_info(device).ticks;
    if (ticks != 0) records[count++] = {ticks, nullptr, nullptr, wire::kMemoryInfo, device};
    if (live_.device_calls(device).made != 0) records[count++] = {until_, nullptr, nullptr, wire::kFoldedCalls, device};
  }
  std::sort(records, records + count, [](const Record& a, const Record& b) { return a.ticks < b.ticks; });
  writer_.BindLocked(file_, ChunkKind::kFold, generation_);
  bool written = true;
  for (size_t i = 0; i < count && written; ++i) written = WriteRecord(records[i]);
  munmap(records, most * sizeof(Record));
  writer_.Finish();
  return written;
}

bool Fold::WriteSpan(uint32_t device, const StepSpan& span) {
  uint8_t* room = writer_.Room(kLargestSpan);
  if (room == nullptr) return false;
  ProtoWriter proto(room, kLargestSpan);
  uint8_t* message = proto.Begin(wire::kFoldedSteps);
  proto.Uint(1, writer_.TicksSince(span.peak_ticks));
  proto.Uint(2, span.peak);
  proto.Uint(3, span.reserved);
  proto.Uint(4, span.live);
  proto.Uint(5, span.end_ticks - span.peak_ticks);
  proto.Uint(6, span.steps);
  proto.Uint(7, device);
  proto.End(message);
  if (proto.ok()) writer_.Commit(proto.position());
  return proto.ok();
}

bool Fold::WriteCalls(uint32_t device) {
  uint8_t* room = writer_.Room(kLargestSpan);
  if (room == nullptr) return false;
  ProtoWriter proto(room, kLargestSpan);
  uint8_t* message = proto.Begin(wire::kFoldedCalls);
  proto.Uint(1, writer_.TicksSince(until_));
  proto.Uint(2, live_.device_calls(device).made);
  proto.Uint(3, live_.device_calls(device).freed);
  proto.Uint(7, device);
  proto.End(message);
  if (proto.ok()) writer_.Commit(proto.position());
  return proto.ok();
}

bool Fold::WriteRecord(const Record& record) {
  if (record.kind == wire::kFoldedSteps) return WriteSpan(record.device, *record.span);
  if (record.kind == wire::kFoldedCalls) return WriteCalls(record.device);
  if (record.kind == wire::kMemoryInfo) return WriteMessage(record.kind, nullptr, live_.memory_info(record.device));
  const LiveBlock& block = *record.block;
  switch (record.kind) {
    case wire::kTensorAlloc:
      return WriteCompactAlloc(
          writer_, {block.ticks, block.address, block.bytes, live_.spans().reserved(block.device), block.device},
          {block.stack, block.layout, block.context, block.site});
    case wire::kHostCopy:
      return WriteMessage(record.kind, &block, live_.message(block.host_copy));
    default:
      return WriteMessage(record.kind, &block, live_.message(block.message));
  }
}

bool Fold::WriteMessage(uint32_t kind, const LiveBlock* block, const LiveMessage& message) {
  uint8_t* room = writer_.Room(kLargestMessage);
  if (room == nullptr) return false;
  ProtoWriter proto(room, kLargestMessage);
  uint8_t* begin = proto.Begin(kind);
  proto.Uint(1, writer_.TicksSince(message.ticks));
  if (block != nullptr) proto.Sint(2, writer_.BlockDelta(block->address));
  proto.Raw(message.bytes, message.size);
  proto.End(begin);
  if (proto.ok()) writer_.Commit(proto.position());
  return proto.ok();
}

uint64_t Fold::ChunksOf(uint32_t generation) const {
  uint64_t count = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    count += slot.sequence != 0 && slot.kind == ChunkKind::kFold && slot.generation == generation;
  }
  return count;
}

// They count from the moment when the header's horizon is behind them; until then the chunks that they come from do.
void Fold::WriteKept() {
  const bool room_left = ChunksOf(0) < file_->budget_chunks_ / 4;
  size_t written = 0;
  for (; room_left && written < live_.kept_count(); ++written) {
    const KeptEvent& event = live_.kept()[written];
    const size_t most = event.size + 48;
    uint8_t* room = kept_.Room(most);
    if (room == nullptr) break;
    ProtoWriter proto(room, most);
    uint8_t* message = proto.Begin(event.kind);
    proto.Uint(1, kept_.TicksSince(event.ticks));
    if (event.has_block) proto.Sint(2, kept_.BlockDelta(event.address));
    proto.Raw(event.message, event.size);
    proto.End(message);
    if (proto.ok()) kept_.Commit(proto.position());
  }
  file_->header_->dropped_events.fetch_add(live_.kept_count() - written, std::memory_order_relaxed);
  live_.ForgetKept();
}

}  // namespace oomtrace
