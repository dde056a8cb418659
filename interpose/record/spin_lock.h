// A lock for the rare paths (a new chunk, a new interned thing). It is never held across a call into CUDA, Python or
// PyTorch, and it is private to one process image: a forked child starts with a recorder, and a lock, of its own.
//
// No signal handler runs in the thread that holds it. Who waits goes to sleep after a while: a thread of real-time
// priority that only yielded would never let the holder finish.
#pragma once

#include <sched.h>
#include <time.h>

#include <atomic>

#include "interpose/record/signals.h"

namespace oomtrace {

class SpinLock {
 public:
  void Lock() {
    for (int tries = 0; held_.exchange(true, std::memory_order_acquire); ++tries) Wait(tries);
  }
  void Unlock() { held_.store(false, std::memory_order_release); }

 private:
  static void Wait(int tries) {
    constexpr int kYields = 100;
    constexpr timespec kSleep = {0, 100000};  // 0.1 ms
    if (tries < kYields) {
      sched_yield();
    } else {
      nanosleep(&kSleep, nullptr);
    }
  }

  std::atomic<bool> held_{false};
};

class SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock& lock) : lock_(lock) { lock_.Lock(); }
  ~SpinLockHolder() { lock_.Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SignalsHeldBack quiet_;  // before the lock is taken, until after it is given back
  SpinLock& lock_;
};

}  // namespace oomtrace
