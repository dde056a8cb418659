#include "analyzer/read/chunk_cursor.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "analyzer/read/wire.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

// Numbers of events: below 16, folded steps, and what a GPU timeline consists of. proto/trace.proto
constexpr uint32_t kFirstPermanentField = 16;
constexpr int kBlockRotation = 9;  // blocks are multiples of 512 bytes
constexpr uint32_t kReservedField = 8;
constexpr uint32_t kDeviceField = 7;
// Two events of one chunk half a year apart (at 4 GHz) are a flipped bit.
constexpr uint64_t kMostTicksApart = 1ull << 56;

bool HasBlock(uint32_t type) {
  using trace::Chunk;
  switch (type) {
    case Chunk::kTensorAllocFieldNumber:
    case Chunk::kTensorFreeFieldNumber:
    case Chunk::kDeviceAllocFieldNumber:
    case Chunk::kDeviceFreeFieldNumber:
    case Chunk::kHostCopyFieldNumber:
    case Chunk::kTensorRoleFieldNumber:
    case Chunk::kHolderFieldNumber:
    case Chunk::kPrivateSegmentFieldNumber:
      return true;
    default:
      return false;
  }
}

bool IsEvent(uint32_t type) {
  return type < kFirstPermanentField || type == trace::Chunk::kFoldedStepsFieldNumber ||
         type == trace::Chunk::kRefusalTextFieldNumber || type == trace::Chunk::kPrivateSegmentFieldNumber ||
         type == trace::Chunk::kFoldedCallsFieldNumber || type == trace::Chunk::kThreadFailedFieldNumber ||
         type == trace::Chunk::kModelMoveFieldNumber ||
         (type >= trace::Chunk::kCollectorStateFieldNumber && type <= trace::Chunk::kNvtxRangeFieldNumber);
}

bool HasReserved(uint32_t type) {
  return type == trace::Chunk::kTensorAllocFieldNumber || type == trace::Chunk::kTensorFreeFieldNumber;
}

}  // namespace

bool ChunkCursor::Next() {
  Found found;
  do found = NextInRun();
  while (found == Found::kOther);
  return found == Found::kEvent;
}

ChunkCursor::Found ChunkCursor::NextInRun() {
  switch (run_.Next(&ticks_, &record_)) {
    case CompactRun::Outcome::kEvent:
      if (!Plausible(&record_)) break;
      record_.ticks = ticks_;
      return Found::kEvent;
    case CompactRun::Outcome::kReserved:
      if (!Plausible(&record_)) break;
      record_.present = 1u << kReservedField;
      NoteReserved();
      return Found::kOther;
    case CompactRun::Outcome::kEnd:
      return NextField();
    case CompactRun::Outcome::kUndecodable:
      break;
  }
  Undecodable(run_begin_ + run_.offset());
  return Found::kEnd;
}

ChunkCursor::Found ChunkCursor::NextField() {
  if (at_ >= chunk_->payload.size()) {
    NoteMissingSites();
    return Found::kEnd;
  }
  const auto undecodable = [&] {
    Undecodable(at_);
    return Found::kEnd;
  };
  WireReader wire(chunk_->payload.substr(at_));
  WireType type;
  const uint32_t number = wire.Tag(&type);
  if (!wire.ok()) return undecodable();
  if (number == trace::Chunk::kThreadChangeFieldNumber && type == WireType::kLength) {
    trace::ThreadChange change;
    const std::string_view bytes = wire.Bytes();
    if (!wire.ok() || !change.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return undecodable();
    if (change.ticks() > kMostTicksApart) return undecodable();
    thread_ = change.thread();
    ticks_ += change.ticks();
    at_ += wire.offset();
    return Found::kOther;
  }
  if (!IsEvent(number) || type != WireType::kLength) {
    wire.Skip(type);  // written by a later version, or interned data: not an event
    if (!wire.ok()) return undecodable();
    at_ += wire.offset();
    return Found::kOther;
  }
  const bool run = number == trace::Chunk::kCompactFieldNumber;
  record_.type = number;
  record_.bytes = run ? wire.BytesUpToEnd() : wire.Bytes();
  if (!wire.ok()) return undecodable();
  if (run) {
    at_ += wire.offset();
    run_begin_ = at_ - record_.bytes.size();
    run_.Begin(record_.bytes);
    return Found::kOther;
  }
  if (!DecodeFields(&record_) || !Plausible(&record_) || record_.field[1] > kMostTicksApart) return undecodable();
  at_ += wire.offset();
  ticks_ += record_.field[1];
  record_.ticks = ticks_;
  if (HasBlock(number)) {
    block_ += static_cast<uint64_t>(ZigZag(record_.field[2]));
    record_.address = std::rotl(block_, kBlockRotation);
  }
  if (HasReserved(number)) NoteReserved();
  return Found::kEvent;
}

void ChunkCursor::Undecodable(size_t offset) {
  const size_t size = chunk_->payload.size();
  const std::string lost =
      size > offset ? absl::StrCat(size - offset, " bytes of events are lost") : std::string("the chunk ends there");
  damage_->Add(absl::StrCat("chunk at byte ", chunk_->offset, ": the event at byte ",
                            chunk_->offset + kChunkHeaderSize + offset, " does not decode; ", lost));
  at_ = size;
  NoteMissingSites();
}

void ChunkCursor::NoteMissingSites() {
  if (run_.missing_sites() == 0) return;
  damage_->Add(absl::StrCat("chunk at byte ", chunk_->offset, ": ", run_.missing_sites(),
                            " allocations refer to sites that are not in the file; their sizes and shapes are lost"));
}

void ChunkCursor::NoteReserved() {
  if (!record_.has(kReservedField)) return;
  for (auto& [device, bytes] : reserved_) {
    if (device == record_.field[kDeviceField]) {
      bytes = record_.field[kReservedField];
      return;
    }
  }
  reserved_.emplace_back(record_.field[kDeviceField], record_.field[kReservedField]);
}

int64_t ChunkCursor::reserved() const {
  for (const auto& [device, bytes] : reserved_) {
    if (device == record_.field[kDeviceField]) return static_cast<int64_t>(bytes);
  }
  return -1;
}

}  // namespace oomtrace
