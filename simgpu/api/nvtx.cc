// NVTX 2 (libnvToolsExt.so.1, which PyTorch linked to up to 2.5): ranges go nowhere, as without a profiler.
#include <cstdint>

#include "simgpu/api.h"

namespace {

constexpr int kNoPushPopTracking = -2;  // NVTX_NO_PUSH_POP_TRACKING: what the library answers without a profiler

}  // namespace

SIMGPU_API void nvtxMarkA(const char*) {}
SIMGPU_API uint64_t nvtxRangeStartA(const char*) { return 0; }
SIMGPU_API void nvtxRangeEnd(uint64_t) {}
SIMGPU_API int nvtxRangePushA(const char*) { return kNoPushPopTracking; }
SIMGPU_API int nvtxRangePop() { return kNoPushPopTracking; }
