#include "analyzer/read/compact_run.h"

#include <bit>

namespace oomtrace {
namespace {

constexpr int kBlockRotation = 9;  // blocks are multiples of 512 bytes
constexpr int kTimeShift = 4;      // time is counted in 16 ticks
constexpr uint64_t kSlotMultiplier = 0x9e3779b97f4a7c15;
constexpr int kSlotShift = 51;
constexpr uint64_t kMostTime = 1ull << 52;  // as ChunkCursor's limit on ticks: a flipped bit beyond

enum Kind : uint64_t {
  kAllocKnown = 0,
  kAllocNew = 1,
  kFreeKnown = 2,
  kFreeNew = 3,
  kReserved = 4,
  kAllocWithoutSite = 5,
};

}  // namespace

void CompactRun::KnownBlock() {
  const uint64_t slot = run_.Varint();
  valid_ &= slot < kSlots;
  slot_ = static_cast<uint32_t>(slot % kSlots);
  rotated_ = blocks_->rotated[slot_];
}

void CompactRun::NewBlock() {
  last_new_block_ += static_cast<uint64_t>(ZigZag(run_.Varint()));
  rotated_ = last_new_block_;
  slot_ = static_cast<uint32_t>(rotated_ * kSlotMultiplier >> kSlotShift);
}

void CompactRun::ReadSite(Record* record) {
  const uint64_t id = run_.Varint();
  const auto site = id <= UINT32_MAX ? sites_->find(static_cast<uint32_t>(id)) : sites_->end();
  if (site == sites_->end()) {
    ++missing_sites_;
    return;
  }
  record->field[3] = site->second.bytes();
  record->field[4] = site->second.stack();
  record->field[5] = site->second.layout();
  record->field[6] = site->second.context();
  record->field[7] = site->second.device();
}

void CompactRun::Alloc(uint64_t kind, Record* record) {
  record->type = trace::Chunk::kTensorAllocFieldNumber;
  if (kind != kAllocWithoutSite) ReadSite(record);
  if (kind == kAllocKnown) {
    KnownBlock();
  } else {
    NewBlock();
  }
  if (kind != kAllocWithoutSite) return;
  for (const uint32_t field : {3, 4, 5, 6, 7}) record->field[field] = run_.Varint();
}

void CompactRun::Free(uint64_t kind, Record* record) {
  record->type = trace::Chunk::kTensorFreeFieldNumber;
  if (kind == kFreeKnown) {
    KnownBlock();
    record->field[7] = blocks_->device[slot_];
  } else {
    record->field[7] = run_.Varint();
    NewBlock();
  }
}

CompactRun::Outcome CompactRun::Next(uint64_t* ticks, Record* record) {
  if (run_.done()) return Outcome::kEnd;
  if (blocks_ == nullptr) blocks_ = std::make_unique<Blocks>();
  const uint64_t head = run_.Varint();
  const uint64_t kind = head & 7, time = head >> 3;
  record->present = 0;
  record->field.fill(0);
  valid_ = time <= kMostTime && kind <= kAllocWithoutSite;
  if (kind == kReserved) {
    record->field[7] = run_.Varint();
    record->field[8] = run_.Varint();
    *ticks += time << kTimeShift;
    return run_.ok() && valid_ ? Outcome::kReserved : Outcome::kUndecodable;
  }
  if (kind == kFreeKnown || kind == kFreeNew) {
    Free(kind, record);
  } else {
    Alloc(kind, record);
  }
  if (!run_.ok() || !valid_) return Outcome::kUndecodable;
  blocks_->rotated[slot_] = rotated_;
  blocks_->device[slot_] = record->field[7];
  *ticks += time << kTimeShift;
  record->address = std::rotl(rotated_, kBlockRotation);
  return Outcome::kEvent;
}

}  // namespace oomtrace
