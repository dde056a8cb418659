// The shape of every hook of a CUDA function: the real function always runs, its answer is the caller's answer, and
// what it wrote is read only after success. Runtime and driver differ in the type of their results alone: 0 is success,
// 2 out of memory, 3 "not initialized" in both.
#pragma once

#include "interpose/hooks/cuda_device_calls.h"
#include "interpose/hooks/real.h"
#include "interpose/record/clock.h"

namespace oomtrace {

struct HookSite {
  HookId id;
  const void* caller;  // return address of the hook
  const void* frame;   // of the hook itself, as in HookFrame
};
#define OOMTRACE_SITE(id) \
  (::oomtrace::HookSite{::oomtrace::HookId::id, __builtin_return_address(0), __builtin_frame_address(0)})

inline constexpr int kNotInitialized = 3;  // cudaErrorInitializationError, CUDA_ERROR_NOT_INITIALIZED

// The real call. What the library does inside it by calling hooked functions is not recorded a second time. The
// arguments' types are the real function's parameter types.
template <typename Result, typename... Arguments>
Result CallReal(const HookSite& site, Arguments... arguments) {
  auto* real = Real<Result(Arguments...)>(site.id, site.caller);
  if (real == nullptr) return static_cast<Result>(kNotInitialized);
  const InsideCuda inside;
  return real(arguments...);
}

inline constexpr int kDeviceIsFull = 2;  // cudaErrorMemoryAllocation, CUDA_ERROR_OUT_OF_MEMORY

// The real call of a function that takes no memory by itself and may still be refused for want of it: the context that
// it makes first, or code that it loads, finds no room.
template <typename Result, typename... Arguments>
Result CallRefusable(const HookSite& site, int device, Arguments... arguments) {
  const Result result = CallReal<Result>(site, arguments...);
  if (static_cast<int>(result) == kDeviceIsFull && !InsideCuda::Now()) [[unlikely]]
    RecordRefusedCall(site, device);
  return result;
}

// `describe(success)` says what the call gave out; what the real function wrote may be read if `success`.
template <typename Result, typename Describe, typename... Arguments>
Result CallAllocating(const HookSite& site, Describe describe, Arguments... arguments) {
  const Result result = CallReal<Result>(site, arguments...);
  if (!InsideCuda::Now()) RecordDeviceAllocation(site, describe(result == 0), static_cast<int>(result));
  return result;
}

// The same for calls that take memory by other ways than a size: its free bytes are asked before and after. `describe`
// is called after success only.
template <typename Result, typename Describe, typename... Arguments>
Result CallMeasured(const HookSite& site, int device, Describe describe, Arguments... arguments) {
  const FreeBytes before = InsideCuda::Now() ? FreeBytes() : FreeBytesNow();
  const Result result = CallRefusable<Result>(site, device, arguments...);
  if (result == 0 && !InsideCuda::Now()) RecordMeasured(site, describe(), before);
  return result;
}

// Gives something back. The time is taken before the call, since afterwards another thread may be given the same
// address; after a failed call the memory is still there.
template <typename Result, typename... Arguments>
Result CallReleasing(const HookSite& site, const Returned& returned, Arguments... arguments) {
  const uint64_t ticks = Ticks();
  const Result result = CallRefusable<Result>(site, returned.device, arguments...);
  if (result == 0 && returned.Something() && !InsideCuda::Now()) RecordDeviceRelease(site, returned, ticks);
  return result;
}

// Changes what a pool or a graph holds: that shows in the device's free bytes only.
template <typename Result, typename... Arguments>
Result CallChangingFree(const HookSite& site, Arguments... arguments) {
  const Result result = CallReal<Result>(site, arguments...);
  if (result == 0 && !InsideCuda::Now()) RecordMemoryNow();
  return result;
}

// What an out-parameter holds after success; 0 where the caller gave none.
template <typename Value>
uint64_t Written(bool success, Value* out) {
  return success && out != nullptr ? (uint64_t)*out : 0;  // an address or an opaque handle
}

template <typename Value>
uint64_t Number(Value value) {
  return (uint64_t)value;
}

}  // namespace oomtrace
