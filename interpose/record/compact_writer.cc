#include "interpose/record/compact_writer.h"

#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

using wire::Compact;

// Unchecked: ChunkWriter::RunRoom has made room for the longest event.
inline uint8_t* Varint(uint8_t* at, uint64_t value) {
  while (value >= 0x80) {
    *at++ = static_cast<uint8_t>(value) | 0x80;
    value >>= 7;
  }
  *at++ = static_cast<uint8_t>(value);
  return at;
}

uint8_t* Head(uint8_t* at, uint64_t time, Compact kind) { return Varint(at, time << 3 | static_cast<uint32_t>(kind)); }

uint8_t* Reserved(ChunkWriter& chunk, uint8_t* at, const BlockEvent& event, uint64_t* time) {
  if (!chunk.ReservedChanged(event.device, event.reserved)) [[likely]]
    return at;
  at = Head(at, *time, Compact::kReserved);
  *time = 0;
  return Varint(Varint(at, event.device), event.reserved);
}

uint8_t* NewBlock(ChunkWriter& chunk, uint8_t* at, uint64_t rotated) {
  return Varint(at, ProtoWriter::ZigZag(chunk.NewBlockDelta(rotated)));
}

}  // namespace

[[gnu::hot]] bool WriteCompactAlloc(ChunkWriter& chunk, const BlockEvent& event, const Attribution& attribution) {
  uint8_t* at = chunk.RunRoom();
  if (at == nullptr) return false;
  uint64_t time = chunk.CompactTime(event.ticks);
  at = Reserved(chunk, at, event, &time);
  const uint64_t rotated = BlockTable::Rotate(event.address);
  const uint32_t slot = BlockTable::SlotOf(rotated);
  if (attribution.site == 0) {
    at = NewBlock(chunk, Head(at, time, Compact::kAllocWithoutSite), rotated);
    at = Varint(Varint(at, event.bytes), attribution.stack);
    at = Varint(Varint(Varint(at, attribution.layout), attribution.context), event.device);
  } else if (chunk.blocks().Holds(slot, rotated)) {
    at = Varint(Varint(Head(at, time, Compact::kAllocKnown), attribution.site), slot);
  } else {
    at = NewBlock(chunk, Varint(Head(at, time, Compact::kAllocNew), attribution.site), rotated);
  }
  chunk.blocks().Put(slot, rotated, event.device);
  chunk.Commit(at);
  return true;
}

[[gnu::hot]] bool WriteCompactFree(ChunkWriter& chunk, const BlockEvent& event) {
  uint8_t* at = chunk.RunRoom();
  if (at == nullptr) return false;
  uint64_t time = chunk.CompactTime(event.ticks);
  at = Reserved(chunk, at, event, &time);
  const uint64_t rotated = BlockTable::Rotate(event.address);
  const uint32_t slot = BlockTable::SlotOf(rotated);
  if (chunk.blocks().Holds(slot, rotated, event.device)) {
    at = Varint(Head(at, time, Compact::kFreeKnown), slot);
  } else {
    at = NewBlock(chunk, Varint(Head(at, time, Compact::kFreeNew), event.device), rotated);
    chunk.blocks().Put(slot, rotated, event.device);
  }
  chunk.Commit(at);
  return true;
}

}  // namespace oomtrace
