// A lock for the rare paths (a new chunk, a new interned thing). It is never held across a call into CUDA, Python or
// PyTorch, and it is private to one process image: a forked child starts with a recorder, and a lock, of its own.
#pragma once

#include <sched.h>

#include <atomic>

namespace oomtrace {

class SpinLock {
 public:
  void Lock() {
    while (held_.exchange(true, std::memory_order_acquire)) sched_yield();
  }
  void Unlock() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

class SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock& lock) : lock_(lock) { lock_.Lock(); }
  ~SpinLockHolder() { lock_.Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace oomtrace
