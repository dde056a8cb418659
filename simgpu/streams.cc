#include "simgpu/streams.h"

#include <algorithm>
#include <chrono>

#include "simgpu/machine.h"

namespace oomtrace::simgpu {
namespace {

// Events measure the host's time. A benchmark divides by it, so two records never coincide.
constexpr float kShortestMilliseconds = 0.001f;

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Streams& Streams::Get() {
  static Streams* streams = new Streams;
  return *streams;
}

uintptr_t Streams::CreateStream(int priority) {
  const uintptr_t stream = Machine::Get().NewHandle();
  std::lock_guard lock(mutex_);
  streams_[stream] = priority;
  return stream;
}

bool Streams::DestroyStream(uintptr_t stream) {
  std::lock_guard lock(mutex_);
  captures_.erase(stream);
  return streams_.erase(stream) > 0;
}

int Streams::Priority(uintptr_t stream) const {
  std::lock_guard lock(mutex_);
  const auto it = streams_.find(stream);
  return it == streams_.end() ? 0 : it->second;
}

uintptr_t Streams::CreateEvent() {
  const uintptr_t event = Machine::Get().NewHandle();
  std::lock_guard lock(mutex_);
  events_[event] = {};
  return event;
}

bool Streams::DestroyEvent(uintptr_t event) {
  std::lock_guard lock(mutex_);
  return events_.erase(event) > 0;
}

bool Streams::Record(uintptr_t event, uintptr_t stream) {
  std::lock_guard lock(mutex_);
  const auto it = events_.find(event);
  if (it == events_.end()) return false;
  const auto capture = captures_.find(stream);
  it->second = {Now(), capture == captures_.end() ? 0 : capture->second};
  return true;
}

bool Streams::Wait(uintptr_t stream, uintptr_t event) {
  std::lock_guard lock(mutex_);
  const auto it = events_.find(event);
  if (it == events_.end()) return false;
  const uint64_t capture = it->second.capture;
  const bool active = capture != 0 && std::any_of(captures_.begin(), captures_.end(),
                                                  [&](const auto& entry) { return entry.second == capture; });
  if (active) captures_[stream] = capture;
  return true;
}

bool Streams::Elapsed(uintptr_t start, uintptr_t end, float* milliseconds) const {
  std::lock_guard lock(mutex_);
  const auto first = events_.find(start);
  const auto last = events_.find(end);
  if (first == events_.end() || last == events_.end()) return false;
  if (first->second.recorded_ns < 0 || last->second.recorded_ns < 0) return false;
  const auto ns = static_cast<double>(last->second.recorded_ns - first->second.recorded_ns);
  *milliseconds = ns < 0 ? static_cast<float>(ns / 1e6) : std::max(kShortestMilliseconds, static_cast<float>(ns / 1e6));
  return true;
}

uint64_t Streams::CaptureOf(uintptr_t stream) const {
  std::lock_guard lock(mutex_);
  const auto it = captures_.find(stream);
  return it == captures_.end() ? 0 : it->second;
}

uint64_t Streams::BeginCapture(uintptr_t stream) {
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = captures_.try_emplace(stream, next_capture_);
  if (!fresh) return 0;
  capturing_.fetch_add(1);
  return next_capture_++;
}

bool Streams::EndCapture(uintptr_t stream) {
  std::lock_guard lock(mutex_);
  const auto it = captures_.find(stream);
  if (it == captures_.end()) return false;
  capturing_.fetch_sub(1);
  std::erase_if(captures_, [id = it->second](const auto& entry) { return entry.second == id; });
  return true;
}

}  // namespace oomtrace::simgpu
