// Another client of CUPTI in this process, PyTorch's profiler above all. Version 1 of its activity interface has one
// set of callbacks and one set of kinds for everybody, so the collector steps aside before the other's calls take
// effect, and comes back after them. Calls of our own collector do not come by here: it has the real functions.
#include <cupti.h>

#include <atomic>

#include "interpose/hooks/collector.h"
#include "interpose/hooks/real.h"

using namespace oomtrace;

namespace {

constexpr CUptiResult kNoCupti = CUPTI_ERROR_NOT_INITIALIZED;
constexpr char kWho[] = "another client of the process registered with CUPTI";

std::atomic<uint64_t> enabled_kinds{0};
std::atomic<uint64_t (*)()> foreign_clock{nullptr};

template <typename Function, typename... Arguments>
CUptiResult Call(HookId id, const void* caller, Arguments... arguments) {
  auto* real = Real<Function>(id, caller);
  return real != nullptr ? real(arguments...) : kNoCupti;
}

uint64_t Bit(CUpti_ActivityKind kind) { return uint64_t{1} << (static_cast<uint32_t>(kind) & 63); }

void Done() { ForeignCuptiDone(foreign_clock.load(std::memory_order_relaxed)); }

}  // namespace

OOMTRACE_EXPORT CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* subscriber, CUpti_CallbackFunc callback,
                                           void* data) {
  const CUptiResult result =
      Call<decltype(cuptiSubscribe)>(HookId::kCuptiSubscribe, __builtin_return_address(0), subscriber, callback, data);
  if (result == CUPTI_SUCCESS) ForeignSubscriber(true);
  return result;
}

OOMTRACE_EXPORT CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle subscriber) {
  ForeignSubscriber(false);
  return Call<decltype(cuptiUnsubscribe)>(HookId::kCuptiUnsubscribe, __builtin_return_address(0), subscriber);
}

// It takes everybody's state with it.
OOMTRACE_EXPORT CUptiResult cuptiFinalize() {
  ForeignCupti(kWho);
  ForeignSubscriber(false);
  const CUptiResult result = Call<decltype(cuptiFinalize)>(HookId::kCuptiFinalize, __builtin_return_address(0));
  enabled_kinds.store(0, std::memory_order_relaxed);
  foreign_clock.store(nullptr, std::memory_order_relaxed);
  Done();
  return result;
}

OOMTRACE_EXPORT CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                                           CUpti_BuffersCallbackCompleteFunc complete) {
  ForeignCupti(kWho);
  return Call<decltype(cuptiActivityRegisterCallbacks)>(HookId::kCuptiRegisterCallbacks, __builtin_return_address(0),
                                                        request, complete);
}

OOMTRACE_EXPORT CUptiResult cuptiActivityRegisterTimestampCallback(CUpti_TimestampCallbackFunc clock) {
  ForeignCupti(kWho);
  const CUptiResult result = Call<decltype(cuptiActivityRegisterTimestampCallback)>(HookId::kCuptiRegisterClock,
                                                                                    __builtin_return_address(0), clock);
  if (result == CUPTI_SUCCESS) foreign_clock.store(clock, std::memory_order_relaxed);
  // A client that only sets its clock and enables nothing would keep the collector away for good.
  if (enabled_kinds.load(std::memory_order_relaxed) == 0) Done();
  return result;
}

OOMTRACE_EXPORT CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind) {
  ForeignCupti(kWho);
  enabled_kinds.fetch_or(Bit(kind), std::memory_order_relaxed);
  return Call<decltype(cuptiActivityEnable)>(HookId::kCuptiEnable, __builtin_return_address(0), kind);
}

OOMTRACE_EXPORT CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind) {
  ForeignCupti(kWho);
  const CUptiResult result =
      Call<decltype(cuptiActivityDisable)>(HookId::kCuptiDisable, __builtin_return_address(0), kind);
  const uint64_t left = enabled_kinds.fetch_and(~Bit(kind), std::memory_order_relaxed) & ~Bit(kind);
  if (left == 0) Done();
  return result;
}

// After its last kind is off, the other client still collects what is in its buffers.
OOMTRACE_EXPORT CUptiResult cuptiActivityFlushAll(uint32_t flag) {
  const CUptiResult result =
      Call<decltype(cuptiActivityFlushAll)>(HookId::kCuptiFlushAll, __builtin_return_address(0), flag);
  if (enabled_kinds.load(std::memory_order_relaxed) == 0) Done();
  return result;
}
