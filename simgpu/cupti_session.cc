#include "simgpu/cupti_session.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace oomtrace::simgpu {
namespace {

constexpr size_t kSizeWord = sizeof(uint64_t);

uint64_t Bit(uint32_t number) { return uint64_t{1} << number; }

}  // namespace

CuptiSession& CuptiSession::Get() {
  static CuptiSession* session = new CuptiSession;
  return *session;
}

CuptiSession::CuptiSession() {
  const char* mode = std::getenv("OOMTRACE_SIM_CUPTI");
  mode_ = mode == nullptr || *mode == '\0' ? "ok" : mode;
  if (const char* version = std::getenv("OOMTRACE_SIM_CUPTI_VERSION"); version != nullptr && *version != '\0')
    version_ = static_cast<uint32_t>(std::strtoul(version, nullptr, 10));
}

uint64_t CuptiSession::Now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

void CuptiSession::RegisterClock(CUpti_TimestampCallbackFunc clock) {
  std::lock_guard lock(mutex_);
  clock_start_ = clock != nullptr ? clock() : 0;
  clock_start_ns_ = Now();
  clock_ = clock;
}

// The client's clock counts at a rate of its own (Kineto's is the time-stamp counter), found from two readings.
uint64_t CuptiSession::Stamp(uint64_t ns) const {
  const CUpti_TimestampCallbackFunc clock = clock_.load(std::memory_order_acquire);
  if (clock == nullptr) return ns;
  const uint64_t now = clock();
  const double rate =
      static_cast<double>(now - clock_start_) / std::max(1.0, static_cast<double>(Now() - clock_start_ns_));
  return clock_start_ + static_cast<uint64_t>(static_cast<double>(ns - clock_start_ns_) * rate);
}

void CuptiSession::Look() { watched_ = kinds_.load() != 0 || domains_.load() != 0 || single_functions_.load(); }

void CuptiSession::Register(CUpti_BuffersCallbackRequestFunc request, CUpti_BuffersCallbackCompleteFunc complete) {
  std::unique_lock lock(mutex_);
  Deliver(lock);
  request_ = request;
  complete_ = complete;
}

CUptiResult CuptiSession::Enable(uint32_t kind, bool on) {
  if (kind == 0 || kind >= kKinds) return CUPTI_ERROR_INVALID_KIND;
  if (on) {
    kinds_.fetch_or(Bit(kind));
  } else {
    kinds_.fetch_and(~Bit(kind));
  }
  if (kind == CUPTI_ACTIVITY_KIND_RUNTIME || kind == CUPTI_ACTIVITY_KIND_DRIVER) {
    for (std::atomic<bool>& function : functions_[kind == CUPTI_ACTIVITY_KIND_RUNTIME]) function = on;
    if (!on) single_functions_ = false;
  }
  Look();
  return CUPTI_SUCCESS;
}

// Returns with the lock held again and no buffer open.
void CuptiSession::Deliver(std::unique_lock<std::mutex>& lock) {
  if (buffer_ == nullptr) return;
  uint8_t* buffer = buffer_;
  const size_t capacity = capacity_;
  const size_t used = used_;
  const CUpti_BuffersCallbackCompleteFunc complete = complete_;
  buffer_ = nullptr;
  lock.unlock();
  if (complete != nullptr) complete(nullptr, 0, buffer, capacity, used);
  lock.lock();
}

void CuptiSession::Flush() {
  std::unique_lock lock(mutex_);
  Deliver(lock);
}

void CuptiSession::Finalize() {
  std::unique_lock lock(mutex_);
  Deliver(lock);
  request_ = nullptr;
  complete_ = nullptr;
  kinds_ = 0;
  domains_ = 0;
  subscriber_ = nullptr;
  clock_ = nullptr;
  single_functions_ = false;
  for (auto& functions : functions_)
    for (std::atomic<bool>& function : functions) function = false;
  Look();
}

void CuptiSession::Put(const void* record, size_t bytes) {
  const size_t padded = (bytes + 7) / 8 * 8;
  if (is("drop") && (records_.fetch_add(1) & 1) != 0) {
    dropped_.fetch_add(1);
    return;
  }
  std::unique_lock lock(mutex_);
  if (buffer_ != nullptr && used_ + kSizeWord + padded > capacity_) Deliver(lock);
  while (buffer_ == nullptr) {
    const CUpti_BuffersCallbackRequestFunc request = request_;
    uint8_t* fresh = nullptr;
    size_t size = 0;
    size_t most = 0;
    lock.unlock();
    if (request != nullptr) request(&fresh, &size, &most);
    lock.lock();
    if (fresh == nullptr || size < kSizeWord + padded) {
      dropped_.fetch_add(1);
      return;
    }
    if (buffer_ != nullptr || request != request_) {  // another thread was faster: this one stays empty
      const CUpti_BuffersCallbackCompleteFunc complete = complete_;
      lock.unlock();
      if (complete != nullptr) complete(nullptr, 0, fresh, size, 0);
      lock.lock();
      if (buffer_ != nullptr && used_ + kSizeWord + padded > capacity_) Deliver(lock);
      continue;
    }
    buffer_ = fresh;
    capacity_ = size;
    used_ = 0;
  }
  const uint64_t word = padded;
  std::memcpy(buffer_ + used_, &word, kSizeWord);
  std::memcpy(buffer_ + used_ + kSizeWord, record, bytes);
  used_ += kSizeWord + padded;
}

CUptiResult CuptiSession::Next(uint8_t* buffer, size_t valid, CUpti_Activity** record) {
  if (buffer == nullptr || record == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  uint8_t* at = buffer;
  if (*record != nullptr) {
    auto* last = reinterpret_cast<uint8_t*>(*record);
    uint64_t size;
    std::memcpy(&size, last - kSizeWord, kSizeWord);
    at = last + size;
  }
  if (at + kSizeWord >= buffer + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
  *record = reinterpret_cast<CUpti_Activity*>(at + kSizeWord);
  return CUPTI_SUCCESS;
}

CUptiResult CuptiSession::Subscribe(CUpti_SubscriberHandle* handle, CUpti_CallbackFunc callback, void* data) {
  if (is("busy")) return CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
  if (is("perm")) return CUPTI_ERROR_INSUFFICIENT_PRIVILEGES;
  CUpti_CallbackFunc none = nullptr;
  if (!subscriber_.compare_exchange_strong(none, callback)) return CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
  subscriber_data_ = data;
  *handle = reinterpret_cast<CUpti_SubscriberHandle>(this);
  return CUPTI_SUCCESS;
}

CUptiResult CuptiSession::Unsubscribe(CUpti_SubscriberHandle handle) {
  if (handle != reinterpret_cast<CUpti_SubscriberHandle>(this) || subscriber_.load() == nullptr)
    return CUPTI_ERROR_INVALID_PARAMETER;
  domains_ = 0;
  subscriber_ = nullptr;
  Look();
  return CUPTI_SUCCESS;
}

CUptiResult CuptiSession::EnableCallbacks(CUpti_CallbackDomain domain, bool on) {
  if (subscriber_.load() == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  const auto bit = static_cast<uint32_t>(Bit(domain));
  if (on) {
    domains_.fetch_or(bit);
  } else {
    domains_.fetch_and(~bit);
  }
  Look();
  return CUPTI_SUCCESS;
}

void CuptiSession::Call(CUpti_CallbackDomain domain, uint32_t id, const void* data) {
  const CUpti_CallbackFunc callback = subscriber_.load();
  if (callback != nullptr && calls(domain)) callback(subscriber_data_.load(), domain, id, data);
}

void CuptiSession::EnableApi(uint32_t kind, uint32_t cbid, bool on) {
  if (cbid >= kFunctions) return;
  functions_[kind == CUPTI_ACTIVITY_KIND_RUNTIME][cbid] = on;
  if (on) single_functions_ = true;
  Look();
}

}  // namespace oomtrace::simgpu
