// CUPTI: a profiler can start and stop, and sees no activity. The real library cannot run on a simulated driver.
#include <cupti.h>
#include <time.h>

#include "simgpu/api.h"

SIMGPU_API CUptiResult cuptiGetVersion(uint32_t* version) {
  *version = CUPTI_API_VERSION;
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  *text = result == CUPTI_SUCCESS ? "CUPTI_SUCCESS" : "CUPTI_ERROR (oomtrace simulated GPU)";
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiGetTimestamp(uint64_t* timestamp) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *timestamp = static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* subscriber, CUpti_CallbackFunc, void*) {
  static int only_one;
  *subscriber = reinterpret_cast<CUpti_SubscriberHandle>(&only_one);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityGetNextRecord(uint8_t*, size_t, CUpti_Activity** record) {
  *record = nullptr;
  return CUPTI_ERROR_MAX_LIMIT_REACHED;
}

SIMGPU_API CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext, uint32_t, size_t* dropped) {
  *dropped = 0;
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityPopExternalCorrelationId(CUpti_ExternalCorrelationKind, uint64_t* last) {
  if (last != nullptr) *last = 0;
  return CUPTI_SUCCESS;
}
