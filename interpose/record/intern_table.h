// hash → id, bounded, in its owner's zeroed memory. Lookups take no lock; insertions are serialized by the caller, who
// publishes an id only after the record that defines it is committed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomtrace {

template <size_t kSlots>
class InternTable {
  static_assert((kSlots & (kSlots - 1)) == 0);

 public:
  // 0: not there.
  uint32_t Find(uint64_t hash) const {
    hash |= 1;  // 0 marks a free slot
    for (size_t i = hash >> 1;; ++i) {
      const Slot& slot = slots_[i & (kSlots - 1)];
      const uint64_t found = slot.hash.load(std::memory_order_acquire);
      if (found == hash) return slot.id;
      if (found == 0) return 0;
    }
  }

  bool full() const { return count_ >= kSlots / 4 * 3; }
  uint32_t next_id() const { return count_ + 1; }

  // The hash must not be there and the table not full. The id is next_id().
  void Insert(uint64_t hash) {
    hash |= 1;
    for (size_t i = hash >> 1;; ++i) {
      Slot& slot = slots_[i & (kSlots - 1)];
      if (slot.hash.load(std::memory_order_relaxed) != 0) continue;
      slot.id = ++count_;
      slot.hash.store(hash, std::memory_order_release);
      return;
    }
  }

 private:
  struct Slot {
    std::atomic<uint64_t> hash;
    uint32_t id;
  };
  Slot slots_[kSlots];
  uint32_t count_;
};

}  // namespace oomtrace
