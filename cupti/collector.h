// The collector's states and their changes.
//
//     Off       CUPTI cannot be used here; the reason was told
//     Memory    memory, pools, modules, contexts: kinds that need no buffer on the device
//     Timeline  the same and kernels, copies and fills: a window is open
//     Yielded   another client of the process has taken over: nothing of ours is enabled
//     Dead      a forked child, or the end of the process: no call is made any more
//
// Version 1 of the activity interface is global to the process, and takes no subscriber: PyTorch's profiler keeps the
// one slot. Callbacks and kinds belong to whoever came last, so the collector steps aside in front of a foreign call
// and comes back some time after the foreign client is done, on its own thread.
//
// One lock serializes the changes. It is held across CUPTI calls whose callbacks are ours, and those never take it; the
// flush that may run a foreign client's callbacks is made without it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "cupti/api.h"
#include "cupti/buffers.h"
#include "cupti/interface.h"

namespace oomtrace::cupti {

class CollectorState {
 public:
  // The one that CUPTI's callbacks work for.
  static CollectorState& Get();

  void Start(const Api& api, const Sink* sink, const Options& options);
  // Tells that there is no CUPTI to be used.
  void Refuse(const Sink* sink, const char* reason);
  void OpenWindow();
  void CloseWindow(const char* reason);
  bool Push(uint64_t launch);
  void Pop();
  void Yield(const char* who);
  void Resume(uint64_t (*clock)());
  void Nudge();
  void Stop();
  // In a forked child.
  void Die() { state_.store(State::kDead, std::memory_order_release); }

  State state() const { return state_.load(std::memory_order_acquire); }
  // One round of the flusher: hands over what is complete, comes back after a foreign client. `now_ms` is monotonic.
  void Round(uint64_t now_ms);

  // For CUPTI's callbacks.
  uint8_t* RequestBuffer() { return buffers_.Take(); }
  void TakeBuffer(uint8_t* buffer, size_t valid);

 private:
  bool SetAttributes();
  CUptiResult EnableMemoryKinds();
  bool Probe();
  void EnableWindowKinds();
  void DisableAll();
  void Enter(State state, const char* reason);
  void Clock();
  void ComeBack();
  void StartThread();
  // False in a forked child, where the lock may never be given back.
  bool Alive() const;
  bool Working() const { return state() == State::kMemory || state() == State::kTimeline; }

  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  std::atomic<State> state_{State::kOff};
  const Sink* sink_ = nullptr;
  Api api_ = {};
  Options options_;
  Buffers buffers_;
  uint32_t version_ = 0;
  int process_ = 0;
  uint64_t epoch_ = 0;
  bool capped_ = false;         // CUPTI took the bounds for its memory on the device
  bool pinned_ = false;         // and puts its buffers into host memory
  bool traced_ = false;         // kernels were traced once: its buffers may be there
  bool window_wanted_ = false;  // open, or to be open once the other client is done
  std::atomic<uint64_t> dropped_{0};
  std::atomic<uint64_t> untimed_{0};
  std::atomic<uint64_t> activities_{0};
  std::atomic<uint64_t> resume_ms_{0};  // 0: not due
  uint64_t (*foreign_clock_)() = nullptr;
  std::atomic<uint32_t> wake_{0};
};

// Milliseconds of CLOCK_MONOTONIC.
uint64_t NowMs();
// How long after the foreign client's last call the collector comes back: it may still be collecting its own buffers.
inline constexpr uint64_t kResumeMs = 300;

}  // namespace oomtrace::cupti
