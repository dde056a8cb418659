#include "interpose/record/fold.h"

#include <algorithm>
#include <new>

#include "interpose/record/compact_writer.h"
#include "interpose/record/memory.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

constexpr size_t kLargestRecord = 160;  // of WriteRecord: a tag, a length, at most 9 fields, of which three are 64-bit

}  // namespace

// One event to write: the birth of a block, its role, the arrival of its host data, or a carried free.
struct Fold::Record {
  uint64_t ticks;
  const LiveBlock* block;
  uint32_t kind;
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

// The oldest sealed event chunks, oldest first.
uint64_t Fold::Collect() {
  const uint64_t most = std::clamp<uint64_t>(file_->budget_chunks_ / 8, 2, kMostChunks);
  const auto older = [&](uint64_t a, uint64_t b) { return file_->slots_[a].sequence < file_->slots_[b].sequence; };
  batch_size_ = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kEvents || slot.held) continue;
    if (batch_size_ == most && !older(i, batch_[batch_size_ - 1])) continue;
    if (batch_size_ < most) ++batch_size_;
    batch_[batch_size_ - 1] = i;
    for (uint64_t at = batch_size_ - 1; at > 0 && older(batch_[at], batch_[at - 1]); --at)
      std::swap(batch_[at], batch_[at - 1]);
  }
  return batch_size_;
}

bool Fold::TakeIn() {
  const ChunkHeader* chunks[kMostChunks];
  const ChunkHeader* later[kMostLater];
  uint64_t end = 0;
  for (uint64_t i = 0; i < batch_size_; ++i) {
    chunks[i] = file_->At(batch_[i]);
    end = std::max(end, file_->slots_[batch_[i]].sealed_ticks);
  }
  size_t later_count = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kEvents || file_->At(i)->base_ticks >= end) continue;
    if (std::find(batch_, batch_ + batch_size_, i) != batch_ + batch_size_) continue;
    if (later_count == kMostLater) return false;
    later[later_count++] = file_->At(i);
  }
  return live_.Apply(chunks, batch_size_, later, later_count);
}

void Fold::FoldOldest() {
  if (broken_ || Collect() < 2) return;
  const uint64_t events_before = live_.events();
  const bool complete = TakeIn();
  ++generation_;
  if (!complete || !WriteGeneration()) {
    Discard(generation_);  // the live set is ahead of the trace from here on
    broken_ = true;
    return;
  }
  for (uint64_t i = 0; i < batch_size_; ++i)
    file_->At(batch_[i])->folded_in.store(generation_, std::memory_order_release);
  file_->header_->fold_generation.store(generation_, std::memory_order_release);
  file_->header_->folded_events.fetch_add(live_.events() - events_before, std::memory_order_relaxed);
  Discard(generation_ - 1);
  WriteKept();
  for (uint64_t i = 0; i < batch_size_; ++i) file_->Release(batch_[i]);
}

void Fold::Discard(uint32_t generation) {
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    if (slot.sequence == 0 || slot.kind != ChunkKind::kFold) continue;
    if (generation != 0 && file_->At(i)->generation == generation) file_->Release(i);
  }
}

bool Fold::WriteGeneration() {
  const size_t most = live_.used() * 3 + live_.carried_count();
  auto* records = static_cast<Record*>(MapMemory((most + 1) * sizeof(Record)));
  if (records == nullptr) return false;
  size_t count = 0;
  live_.ForEachLive([&](const LiveBlock& block) {
    records[count++] = {block.ticks, &block, block.device_level ? wire::kDeviceAlloc : wire::kTensorAlloc};
    if (block.role_ticks != 0) records[count++] = {block.role_ticks, &block, wire::kTensorRole};
    if (block.copy_ticks != 0) records[count++] = {block.copy_ticks, &block, wire::kHostCopy};
  });
  for (size_t i = 0; i < live_.carried_count(); ++i) {
    const LiveBlock& block = live_.carried()[i];
    records[count++] = {block.ticks, &block, block.device_level ? wire::kDeviceFree : wire::kTensorFree};
  }
  std::sort(records, records + count, [](const Record& a, const Record& b) { return a.ticks < b.ticks; });
  writer_.BindLocked(file_, ChunkKind::kFold, generation_);
  bool written = true;
  for (size_t i = 0; i < count && written; ++i) written = WriteRecord(records[i]);
  munmap(records, (most + 1) * sizeof(Record));
  writer_.Finish();
  return written;
}

bool Fold::WriteRecord(const Record& record) {
  const LiveBlock& block = *record.block;
  const BlockEvent event{record.ticks, block.address, block.bytes, block.reserved, block.device};
  if (record.kind == wire::kTensorAlloc)
    return WriteCompactAlloc(writer_, event, {block.stack, block.layout, block.context, block.site});
  if (record.kind == wire::kTensorFree) return WriteCompactFree(writer_, event);
  uint8_t* room = writer_.Room(kLargestRecord);
  if (room == nullptr) return false;
  ProtoWriter proto(room, kLargestRecord);
  uint8_t* message = proto.Begin(record.kind);
  proto.Uint(1, writer_.TicksSince(record.ticks));
  proto.Sint(2, writer_.BlockDelta(block.address));
  switch (record.kind) {
    case wire::kDeviceFree:
      proto.Uint(5, block.library);
      proto.Uint(6, block.api);
      proto.Uint(7, block.device);
      break;
    case wire::kDeviceAlloc:
      proto.Uint(3, block.bytes);
      proto.Uint(4, block.stack);
      proto.Uint(5, block.library);
      proto.Uint(6, block.api);
      proto.Uint(7, block.device);
      proto.Uint(9, block.layout);
      proto.Uint(10, block.context);
      break;
    case wire::kTensorRole:
      proto.Uint(3, block.role_bytes);
      proto.Uint(4, block.role);
      proto.Uint(5, block.role_name);
      proto.Uint(6, block.owner);
      proto.Uint(7, block.device);
      break;
    default:
      proto.Uint(3, block.copy_bytes);
      proto.Uint(7, block.device);
  }
  proto.End(message);
  if (proto.ok()) writer_.Commit(proto.position());
  return proto.ok();
}

uint64_t Fold::KeptChunks() const {
  uint64_t count = 0;
  for (uint64_t i = 0; i < file_->used_chunks_; ++i) {
    const TraceFile::Slot& slot = file_->slots_[i];
    count += slot.sequence != 0 && slot.kind == ChunkKind::kFold && file_->At(i)->generation == 0;
  }
  return count;
}

// A kill in the middle loses those of one batch that were not written yet.
void Fold::WriteKept() {
  const bool room_left = KeptChunks() < file_->budget_chunks_ / 4;
  for (size_t i = 0; room_left && i < live_.kept_count(); ++i) {
    const KeptEvent& event = live_.kept()[i];
    uint8_t* room = kept_.Room(event.size + 32);
    if (room == nullptr) break;
    ProtoWriter proto(room, event.size + 32);
    uint8_t* message = proto.Begin(event.field);
    proto.Uint(1, kept_.TicksSince(event.ticks));
    proto.Raw(event.message, event.size);
    proto.End(message);
    if (proto.ok()) kept_.Commit(proto.position());
  }
  live_.ForgetKept();
}

}  // namespace oomtrace
