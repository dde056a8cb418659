// The blocks that a chunk's compact events have named lately, as writer and reader keep them (proto/trace.proto,
// Chunk.compact): a block that is in its slot is written as the number of the slot.
//
// 72 KiB in memory of its own, mapped when the first compact event is written; one thread at a time.
#pragma once

#include <cstdint>
#include <cstring>

#include "interpose/record/memory.h"

namespace oomtrace {

class BlockTable {
 public:
  static constexpr uint32_t kSlots = 8192;

  static uint64_t Rotate(uint64_t address) { return address >> 9 | address << 55; }
  static uint64_t Address(uint64_t rotated) { return rotated << 9 | rotated >> 55; }
  static uint32_t SlotOf(uint64_t rotated) { return static_cast<uint32_t>(rotated * 0x9e3779b97f4a7c15u >> 51); }

  // Empty afterwards. False where there is no memory.
  bool Clear() {
    if (slots_ == nullptr) {
      slots_ = static_cast<Slots*>(MapMemory(sizeof(Slots)));
      return slots_ != nullptr;
    }
    memset(slots_, 0, sizeof(Slots));
    return true;
  }
  void Unmap() {
    if (slots_ != nullptr) munmap(slots_, sizeof(Slots));
    slots_ = nullptr;
  }

  bool Holds(uint32_t slot, uint64_t rotated) const { return slots_->rotated[slot] == rotated; }
  bool Holds(uint32_t slot, uint64_t rotated, uint32_t device) const {
    return Holds(slot, rotated) && slots_->device[slot] == device;
  }
  void Put(uint32_t slot, uint64_t rotated, uint32_t device) {
    slots_->rotated[slot] = rotated;
    slots_->device[slot] = static_cast<uint8_t>(device);
  }
  uint64_t rotated(uint32_t slot) const { return slots_->rotated[slot]; }
  uint32_t device(uint32_t slot) const { return slots_->device[slot]; }

 private:
  struct Slots {
    uint64_t rotated[kSlots];
    uint8_t device[kSlots];
  };
  Slots* slots_ = nullptr;
};

}  // namespace oomtrace
