// hash → id, bounded, forgetful: a new entry takes the place of an old one with which it collides. For what is costly
// to look up by its content but known by a hash of where it was found; who does not find it looks it up again.
//
// Static zeroed memory, any thread, without a lock. Ids are those of one recorder: a key must be salted with it, since
// a forked child has another.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomtrace {

template <size_t kSlots>
class RecentTable {
  static_assert((kSlots & (kSlots - 1)) == 0);

 public:
  // 0: not there, or no longer. Two keys are confused with a chance of 2^-40.
  uint32_t Find(uint64_t key) const {
    const uint64_t entry = slots_[key & (kSlots - 1)].load(std::memory_order_acquire);
    return entry >> kIdBits == key >> kIdBits ? static_cast<uint32_t>(entry & kMostId) : 0;
  }

  void Insert(uint64_t key, uint32_t id) {
    if (id > kMostId) return;
    slots_[key & (kSlots - 1)].store(key >> kIdBits << kIdBits | id, std::memory_order_release);
  }

 private:
  static constexpr int kIdBits = 24;
  static constexpr uint64_t kMostId = (1 << kIdBits) - 1;

  std::atomic<uint64_t> slots_[kSlots];
};

}  // namespace oomtrace
