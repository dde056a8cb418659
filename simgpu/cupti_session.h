// The one client of the simulated CUPTI: which kinds of activity it wants, its callbacks and its buffers.
//
// As in the real library, the activity interface of version 1 is global to the process: a second registration of
// callbacks replaces the first, and kinds are switched off for everybody. Callbacks are called with no lock held.
// Thread-safe.
//
//   OOMTRACE_SIM_CUPTI          ok, or a way to fail: busy (another tool subscribes), nodriver (every call answers
//                               999), perm (no permission), drop (one record in two is dropped), zerotime (kernels
//                               without times)
//   OOMTRACE_SIM_CUPTI_VERSION  what cuptiGetVersion says and how long records are: 18 (CUDA 12.1) to 130500
#pragma once

#include <cupti.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace oomtrace::simgpu {

class CuptiSession {
 public:
  static constexpr uint32_t kKinds = 64;

  static CuptiSession& Get();
  // Whether anybody looks: asked at every launch, one load.
  static bool Watched() { return watched_.load(std::memory_order_relaxed); }

  bool is(const char* mode) const { return mode_ == mode; }
  uint32_t version() const { return version_; }

  void Register(CUpti_BuffersCallbackRequestFunc request, CUpti_BuffersCallbackCompleteFunc complete);
  CUptiResult Enable(uint32_t kind, bool on);
  bool enabled(uint32_t kind) const {
    return kind < kKinds && (kinds_.load(std::memory_order_relaxed) >> kind & 1) != 0;
  }
  // Hands the open buffer to the client.
  void Flush();
  // Everything back to the beginning.
  void Finalize();

  // Appends a record of a kind that is wanted. It stands behind a word with its size, by which Next() walks.
  void Put(const void* record, size_t bytes);
  static CUptiResult Next(uint8_t* buffer, size_t valid, CUpti_Activity** record);
  size_t TakeDropped() { return dropped_.exchange(0); }

  // Nanoseconds since the epoch; records carry the client's own clock where it has registered one.
  static uint64_t Now();
  uint64_t Stamp(uint64_t ns) const;
  void RegisterClock(CUpti_TimestampCallbackFunc clock);

  // The one subscriber of the callback interface.
  CUptiResult Subscribe(CUpti_SubscriberHandle* handle, CUpti_CallbackFunc callback, void* data);
  CUptiResult Unsubscribe(CUpti_SubscriberHandle handle);
  CUptiResult EnableCallbacks(CUpti_CallbackDomain domain, bool on);
  void Call(CUpti_CallbackDomain domain, uint32_t id, const void* data);
  bool calls(CUpti_CallbackDomain domain) const {
    return (domains_.load(std::memory_order_relaxed) >> domain & 1) != 0;
  }

  // Single functions of the kinds RUNTIME and DRIVER; switching the kind switches all of them.
  void EnableApi(uint32_t kind, uint32_t cbid, bool on);
  bool api_enabled(uint32_t kind, uint32_t cbid) const {
    return cbid < kFunctions && functions_[kind == CUPTI_ACTIVITY_KIND_RUNTIME][cbid].load(std::memory_order_relaxed);
  }

 private:
  static constexpr uint32_t kFunctions = 1024;  // both lists of cbids are shorter

  CuptiSession();
  void Deliver(std::unique_lock<std::mutex>& lock);
  void Look();

  static inline std::atomic<bool> watched_{false};

  std::string mode_;
  uint32_t version_ = CUPTI_API_VERSION;
  mutable std::mutex mutex_;
  std::atomic<uint64_t> kinds_{0};
  std::atomic<uint32_t> domains_{0};
  std::atomic<size_t> dropped_{0};
  std::atomic<uint64_t> records_{0};
  CUpti_BuffersCallbackRequestFunc request_ = nullptr;
  CUpti_BuffersCallbackCompleteFunc complete_ = nullptr;
  uint8_t* buffer_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  std::atomic<CUpti_TimestampCallbackFunc> clock_{nullptr};
  uint64_t clock_start_ = 0;
  uint64_t clock_start_ns_ = 0;
  std::atomic<CUpti_CallbackFunc> subscriber_{nullptr};
  std::atomic<void*> subscriber_data_{nullptr};
  std::atomic<bool> single_functions_{false};
  std::atomic<bool> functions_[2][kFunctions] = {};  // driver, runtime
};

}  // namespace oomtrace::simgpu
