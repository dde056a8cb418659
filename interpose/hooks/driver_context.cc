// Contexts. What one takes shows in the device's free bytes, if another was there before to ask them in.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

template <typename... Arguments>
CUresult Create(const HookSite& site, CUcontext* context, CUdevice device, Arguments... arguments) {
  const auto given = [=] {
    return DeviceAllocation{.kind = MemoryKind::kContext, .block = Written(true, context), .device = device};
  };
  const CUresult result = CallMeasured<CUresult>(site, device, given, context, arguments...);
  if (result == CUDA_SUCCESS && !InsideCuda::Now()) NoteOwnContext();
  return result;
}

// Of a device's primary context; true where the driver does not say.
bool IsActive(CUdevice device) {
  using GetState = CUresult(CUdevice, unsigned int*, int*);
  auto* state = reinterpret_cast<GetState*>(FindIn(HookLibrary::kCuda, "cuDevicePrimaryCtxGetState"));
  unsigned int flags;
  int active;
  return state == nullptr || state(device, &flags, &active) != CUDA_SUCCESS || active != 0;
}

}  // namespace

OOMTRACE_EXPORT CUresult cuCtxCreate_v2(CUcontext* context, unsigned int flags, CUdevice device) {
  return Create(OOMTRACE_SITE(kCuCtxCreateV2), context, device, flags, device);
}

OOMTRACE_EXPORT CUresult cuCtxCreate_v3(CUcontext* context, CUexecAffinityParam* affinity, int count,
                                        unsigned int flags, CUdevice device) {
  return Create(OOMTRACE_SITE(kCuCtxCreateV3), context, device, affinity, count, flags, device);
}

OOMTRACE_EXPORT CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* parameters, unsigned int flags,
                                        CUdevice device) {
  return Create(OOMTRACE_SITE(kCuCtxCreateV4), context, device, parameters, flags, device);
}

OOMTRACE_EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuCtxDestroy), {.kind = MemoryKind::kContext, .block = Number(context)},
                                 context);
}

OOMTRACE_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  const auto given = [=] {
    return DeviceAllocation{.kind = MemoryKind::kContext, .block = Written(true, context), .device = device};
  };
  return CallMeasured<CUresult>(OOMTRACE_SITE(kCuDevicePrimaryCtxRetain), device, given, context, device);
}

// The last release ends the context, and everything in it.
OOMTRACE_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  const HookSite site = OOMTRACE_SITE(kCuDevicePrimaryCtxRelease);
  const uint64_t ticks = Ticks();
  const CUresult result = CallReal<CUresult>(site, device);
  if (result == CUDA_SUCCESS && !InsideCuda::Now() && !IsActive(device)) {
    RecordDeviceRelease(site, {.kind = MemoryKind::kContext, .device = device}, ticks);
  }
  return result;
}

OOMTRACE_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuDevicePrimaryCtxReset),
                                 {.kind = MemoryKind::kContext, .device = device}, device);
}
