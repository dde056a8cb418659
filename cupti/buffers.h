// The buffers that CUPTI fills: anonymous memory outside the application's malloc, handed out and taken back without a
// lock that anybody holds across a call.
//
// Bounded: past kMostBuffers in flight there is none, and CUPTI drops records and counts them. A buffer that CUPTI
// still owns at the end is left to the process's end.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomtrace::cupti {

class Buffers {
 public:
  // NVIDIA recommends 1 to 10 MB; the smallest keeps what a kill loses small.
  static constexpr size_t kBytes = size_t{1} << 20;
  static constexpr size_t kMostBuffers = 32;

  // nullptr: all are in use.
  uint8_t* Take() {
    for (Slot& slot : slots_) {
      bool free = false;
      if (!slot.used.compare_exchange_strong(free, true, std::memory_order_acquire)) continue;
      if (slot.memory == nullptr) {
        void* memory =
            mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
          slot.used.store(false, std::memory_order_release);
          return nullptr;
        }
        slot.memory = static_cast<uint8_t*>(memory);
        made_.fetch_add(1, std::memory_order_relaxed);
      }
      return slot.memory;
    }
    return nullptr;
  }

  // False: not one of these.
  bool GiveBack(const uint8_t* memory) {
    for (Slot& slot : slots_) {
      if (slot.memory != memory || memory == nullptr) continue;
      slot.used.store(false, std::memory_order_release);
      return true;
    }
    return false;
  }
  bool Owns(const uint8_t* memory) const {
    for (const Slot& slot : slots_)
      if (slot.memory == memory && memory != nullptr) return true;
    return false;
  }

  uint64_t bytes() const { return made_.load(std::memory_order_relaxed) * kBytes; }

 private:
  struct Slot {
    std::atomic<bool> used{false};
    uint8_t* memory = nullptr;  // written by the first who took the slot, before it hands the memory out
  };

  Slot slots_[kMostBuffers];
  std::atomic<uint64_t> made_{0};
};

}  // namespace oomtrace::cupti
