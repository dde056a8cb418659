// Streams, events and stream capture. No work runs on a stream, so every stream is always idle; what remains is which
// streams are being captured into a graph and when an event was recorded.
//
// Handles are opaque numbers. One for the process. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

namespace oomtrace::simgpu {

class Streams {
 public:
  static Streams& Get();

  uintptr_t CreateStream(int priority);
  bool DestroyStream(uintptr_t stream);
  int Priority(uintptr_t stream) const;

  uintptr_t CreateEvent();
  bool DestroyEvent(uintptr_t event);
  // False: not an event.
  bool Record(uintptr_t event, uintptr_t stream);
  // A wait on an event of a captured stream joins the capture.
  bool Wait(uintptr_t stream, uintptr_t event);
  // Host time between two records, in milliseconds. False: one was never recorded.
  bool Elapsed(uintptr_t start, uintptr_t end, float* milliseconds) const;

  // Whether any stream is being captured: one load.
  static bool Capturing() { return capturing_.load(std::memory_order_relaxed) > 0; }
  // The capture's id, 0: not capturing.
  uint64_t CaptureOf(uintptr_t stream) const;
  uint64_t BeginCapture(uintptr_t stream);  // 0: it already is
  bool EndCapture(uintptr_t stream);        // for all streams that joined

 private:
  struct Event {
    int64_t recorded_ns = -1;
    uint64_t capture = 0;
  };

  static inline std::atomic<int> capturing_{0};

  mutable std::mutex mutex_;
  std::map<uintptr_t, int> streams_;  // -> priority
  std::map<uintptr_t, Event> events_;
  std::map<uintptr_t, uint64_t> captures_;  // stream -> id
  uint64_t next_capture_ = 1;
};

}  // namespace oomtrace::simgpu
