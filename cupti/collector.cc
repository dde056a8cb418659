#include "cupti/collector.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cupti/decode.h"

namespace oomtrace::cupti {
namespace {

constexpr uint64_t kRoundMs = 1000;  // between two hand-overs; what a kill loses
constexpr size_t kThreadStack = 256 << 10;

// CUPTI's own buffers on the device, as small as they can be: one made ahead, 8 at most (it would take up to 250), and
// in pinned host memory where it agrees.
constexpr size_t kPoolLimit = 8;
constexpr size_t kPreallocated = 1;
constexpr uint64_t kDeviceBufferBytes = 3200000;  // default of DEVICE_BUFFER_SIZE, cupti_activity.h
constexpr uint8_t kPinned = 1;

constexpr CUpti_ActivityKind kMemoryKinds[] = {CUPTI_ACTIVITY_KIND_MEMORY2, CUPTI_ACTIVITY_KIND_MEMORY_POOL,
                                               CUPTI_ACTIVITY_KIND_MODULE, CUPTI_ACTIVITY_KIND_CONTEXT,
                                               CUPTI_ACTIVITY_KIND_OVERHEAD};
// Never KERNEL (it runs kernels one at a time) nor GRAPH_TRACE (it leaves the session without single kernels for good).
constexpr CUpti_ActivityKind kWindowKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                               CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION};
// Correlation records come with the records of calls: those that enqueue work, where CUPTI can be asked for single
// ones.
constexpr uint32_t kRuntimeCalls[] = {CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernel_v7000,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernel_ptsz_v7000,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernelExC_v11060,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernelExC_ptsz_v11060,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaLaunchCooperativeKernel_v9000,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaMemcpy_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyAsync_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaMemset_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaMemsetAsync_v3020};
constexpr uint32_t kDriverCalls[] = {
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel};

class Holder {
 public:
  explicit Holder(pthread_mutex_t* lock) : lock_(lock) { pthread_mutex_lock(lock_); }
  ~Holder() { pthread_mutex_unlock(lock_); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

 private:
  pthread_mutex_t* lock_;
};

void CUPTIAPI OnRequest(uint8_t** buffer, size_t* size, size_t* most) {
  *buffer = CollectorState::Get().RequestBuffer();
  *size = *buffer != nullptr ? Buffers::kBytes : 0;
  *most = 0;
}

void CUPTIAPI OnComplete(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CollectorState::Get().TakeBuffer(buffer, valid);
}

void CUPTIAPI IgnoreCallback(void*, CUpti_CallbackDomain, CUpti_CallbackId, const void*) {}

// The clock that CUPTI itself uses unless a client gives it another.
uint64_t CUPTIAPI Nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

void InChild() { CollectorState::Get().Die(); }

constinit CollectorState collector;

}  // namespace

uint64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000u + static_cast<uint64_t>(now.tv_nsec) / 1000000u;
}

CollectorState& CollectorState::Get() { return collector; }

bool CollectorState::Alive() const { return state() != State::kDead && getpid() == process_; }

void CollectorState::Enter(State state, const char* reason) {
  state_.store(state, std::memory_order_release);
  StateChange change;
  change.state = state;
  change.reason = reason;
  change.version = version_;
  change.dropped = dropped_.load(std::memory_order_relaxed);
  change.untimed = untimed_.load(std::memory_order_relaxed);
  change.device_bytes = traced_ && !pinned_ ? kPoolLimit * kDeviceBufferBytes : 0;
  change.host_bytes = buffers_.bytes() + (traced_ && pinned_ ? kPoolLimit * kDeviceBufferBytes : 0);
  sink_->state(change);
}

void CollectorState::Clock() {
  uint64_t now = 0;
  if (api_.get_timestamp(&now) == CUPTI_SUCCESS && now >= epoch_) sink_->clock(now - epoch_);
}

// Before the first context, or CUPTI ignores them.
bool CollectorState::SetAttributes() {
  size_t value = kPoolLimit;
  size_t bytes = sizeof value;
  bool accepted = api_.set_attribute(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_POOL_LIMIT, &bytes, &value) == CUPTI_SUCCESS;
  value = kPreallocated;
  bytes = sizeof value;
  accepted &= api_.set_attribute(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_PRE_ALLOCATE_VALUE, &bytes, &value) == CUPTI_SUCCESS;
  uint8_t pinned = kPinned;
  bytes = sizeof pinned;
  pinned_ = api_.set_attribute(CUPTI_ACTIVITY_ATTR_MEM_ALLOCATION_TYPE_HOST_PINNED, &bytes, &pinned) == CUPTI_SUCCESS;
  return accepted;
}

// Whether somebody outside this process's own libraries holds CUPTI, found by subscribing for a moment.
bool CollectorState::Probe() {
  if (options_.foreign_subscriber) return true;
  CUpti_SubscriberHandle subscriber = nullptr;
  const CUptiResult result = api_.subscribe(&subscriber, IgnoreCallback, nullptr);
  if (result != CUPTI_SUCCESS) {
    Enter(State::kOff, Describe(result));
    return false;
  }
  api_.unsubscribe(subscriber);
  return true;
}

CUptiResult CollectorState::EnableMemoryKinds() {
  CUptiResult first = CUPTI_SUCCESS;
  bool any = false;
  for (const CUpti_ActivityKind kind : kMemoryKinds) {
    const CUptiResult result = api_.enable(kind);
    any |= result == CUPTI_SUCCESS;
    if (result != CUPTI_SUCCESS && first == CUPTI_SUCCESS) first = result;
  }
  return any ? CUPTI_SUCCESS : first;
}

void CollectorState::EnableWindowKinds() {
  for (const CUpti_ActivityKind kind : kWindowKinds) api_.enable(kind);
  if (api_.enable_runtime_api != nullptr && api_.enable_driver_api != nullptr) {
    for (const uint32_t call : kRuntimeCalls) api_.enable_runtime_api(call, 1);
    for (const uint32_t call : kDriverCalls) api_.enable_driver_api(call, 1);
  } else {
    api_.enable(CUPTI_ACTIVITY_KIND_RUNTIME);
    api_.enable(CUPTI_ACTIVITY_KIND_DRIVER);
  }
  traced_ = true;
}

void CollectorState::DisableAll() {
  for (const CUpti_ActivityKind kind : kWindowKinds) api_.disable(kind);
  api_.disable(CUPTI_ACTIVITY_KIND_RUNTIME);
  api_.disable(CUPTI_ACTIVITY_KIND_DRIVER);
  for (const CUpti_ActivityKind kind : kMemoryKinds) api_.disable(kind);
}

void CollectorState::Refuse(const Sink* sink, const char* reason) {
  const Holder hold(&lock_);
  sink_ = sink;
  Enter(State::kOff, reason);
}

void CollectorState::Start(const Api& api, const Sink* sink, const Options& options) {
  const Holder hold(&lock_);
  if (sink_ != nullptr) return;  // started already
  process_ = getpid();
  api_ = api;
  sink_ = sink;
  options_ = options;
  CUptiResult result = api_.get_version(&version_);
  if (result != CUPTI_SUCCESS) return Enter(State::kOff, Describe(result));
  if (version_ < kOldestVersion) return Enter(State::kOff, "this CUPTI is older than CUDA 12.1");
  if (!Probe()) return;
  if (options.timeline) capped_ = SetAttributes();
  result = api_.register_callbacks(OnRequest, OnComplete);
  if (result == CUPTI_SUCCESS) result = api_.get_timestamp(&epoch_);
  if (result != CUPTI_SUCCESS) return Enter(State::kOff, Describe(result));
  result = EnableMemoryKinds();
  if (result != CUPTI_SUCCESS) return Enter(State::kOff, Describe(result));
  if (version_ >= kSourceSince && api_.enable_allocation_source != nullptr) api_.enable_allocation_source(1);
  Clock();
  pthread_atfork(nullptr, nullptr, InChild);
  Enter(State::kMemory, "");
  StartThread();
}

void CollectorState::OpenWindow() {
  if (!Alive()) return;
  if (activities_.load(std::memory_order_relaxed) > options_.most_activities) return;
  const Holder hold(&lock_);
  window_wanted_ = true;
  if (state() != State::kMemory) return;
  if (!capped_) {
    window_wanted_ = false;
    return Enter(State::kMemory, "no timeline: CUPTI does not accept a bound for its memory on the device");
  }
  Clock();
  EnableWindowKinds();
  Enter(State::kTimeline, "");
}

void CollectorState::CloseWindow(const char* reason) {
  if (!Alive()) return;
  const Holder hold(&lock_);
  window_wanted_ = false;
  if (state() != State::kTimeline) return;
  api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  Clock();
  DisableAll();
  EnableMemoryKinds();
  Enter(State::kMemory, reason);
}

bool CollectorState::Push(uint64_t launch) {
  return state() == State::kTimeline &&
         api_.push_external_id(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM2, launch) == CUPTI_SUCCESS;
}

void CollectorState::Pop() {
  if (state() != State::kDead) api_.pop_external_id(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM2, nullptr);
}

void CollectorState::Yield(const char* who) {
  if (!Alive()) return;
  const Holder hold(&lock_);
  resume_ms_.store(0, std::memory_order_relaxed);
  if (!Working()) return;
  api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  Clock();
  DisableAll();
  // The other client's clock, which the collector had replaced, is its own again.
  if (foreign_clock_ != nullptr) api_.register_clock(foreign_clock_);
  Enter(State::kYielded, who);
}

void CollectorState::Resume(uint64_t (*clock)()) {
  if (!Alive()) return;
  const Holder hold(&lock_);
  if (state() != State::kYielded) return;
  foreign_clock_ = clock;
  resume_ms_.store(NowMs() + kResumeMs, std::memory_order_relaxed);
  Nudge();
}

// Buffers that the other client gave away go back to it first, by its own callbacks and without the lock.
void CollectorState::ComeBack() {
  api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const Holder hold(&lock_);
  if (state() != State::kYielded || resume_ms_.load(std::memory_order_relaxed) == 0) return;
  resume_ms_.store(0, std::memory_order_relaxed);
  if (foreign_clock_ != nullptr) api_.register_clock(Nanoseconds);
  CUptiResult result = api_.register_callbacks(OnRequest, OnComplete);
  if (result == CUPTI_SUCCESS) result = EnableMemoryKinds();
  if (result != CUPTI_SUCCESS) return Enter(State::kOff, Describe(result));
  Clock();
  if (window_wanted_ && capped_) EnableWindowKinds();
  Enter(window_wanted_ && capped_ ? State::kTimeline : State::kMemory, "the other profiler is done");
}

void CollectorState::TakeBuffer(uint8_t* buffer, size_t valid) {
  if (!buffers_.Owns(buffer)) return;
  CUpti_Activity* record = nullptr;
  while (state() != State::kDead && valid > 0 && api_.next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    Decoded decoded = Decode(record, version_);
    const auto since = [this](uint64_t* time) { *time = *time > epoch_ ? *time - epoch_ : 0; };
    switch (decoded.what) {
      case Decoded::What::kActivity:
        if (decoded.untimed) {
          untimed_.fetch_add(1, std::memory_order_relaxed);
          break;
        }
        since(&decoded.activity.start);
        since(&decoded.activity.end);
        sink_->activity(decoded.activity);
        activities_.fetch_add(1, std::memory_order_relaxed);
        break;
      case Decoded::What::kMemory:
        since(&decoded.memory.time);
        sink_->memory(decoded.memory);
        break;
      case Decoded::What::kResource:
        since(&decoded.resource.time);
        sink_->resource(decoded.resource);
        break;
      case Decoded::What::kCorrelation:
        sink_->correlation(decoded.launch, decoded.correlation);
        break;
      case Decoded::What::kNothing:
        break;
    }
  }
  size_t dropped = 0;
  if (state() != State::kDead && api_.dropped_records(nullptr, 0, &dropped) == CUPTI_SUCCESS)
    dropped_.fetch_add(dropped, std::memory_order_relaxed);
  buffers_.GiveBack(buffer);
}

void CollectorState::Round(uint64_t now_ms) {
  const uint64_t due = resume_ms_.load(std::memory_order_relaxed);
  if (due != 0 && now_ms >= due) return ComeBack();
  if (activities_.load(std::memory_order_relaxed) > options_.most_activities)
    CloseWindow("the timeline's share of the trace is used up");
  const Holder hold(&lock_);
  if (!Working()) return;
  api_.flush_all(0);
  Clock();
}

void CollectorState::Nudge() {
  wake_.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, &wake_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void CollectorState::Stop() {
  if (!Alive()) return;
  const Holder hold(&lock_);
  if (Working()) {
    api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    Clock();
    DisableAll();
    Enter(State::kDead, "the process ends");
  }
  state_.store(State::kDead, std::memory_order_release);
}

void CollectorState::StartThread() {
  static constexpr auto run = [](void*) -> void* {
    CollectorState& self = CollectorState::Get();
    while (self.state() != State::kDead && self.state() != State::kOff) {
      const uint32_t seen = self.wake_.load(std::memory_order_acquire);
      const uint64_t due = self.resume_ms_.load(std::memory_order_relaxed);
      const uint64_t now = NowMs();
      const uint64_t wait = due > now ? due - now : kRoundMs;
      const timespec rest = {static_cast<time_t>(wait / 1000), static_cast<long>(wait % 1000 * 1000000)};
      if (due == 0 || due > now) syscall(SYS_futex, &self.wake_, FUTEX_WAIT_PRIVATE, seen, &rest, nullptr, 0);
      self.Round(NowMs());
    }
    return nullptr;
  };
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kThreadStack);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, run, nullptr) == 0) pthread_setname_np(thread, "oomtrace-cupti");
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace oomtrace::cupti
