// CUPTI: version 1 of the activity interface and the subscriber, as Kineto (torch 2.11 to 2.15) and the collector use
// them. The real library asks the driver for private tables and cannot run on a simulated one.
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "simgpu/activity.h"
#include "simgpu/api.h"
#include "simgpu/cupti_session.h"

using namespace oomtrace::simgpu;

namespace {

CuptiSession& Session() { return CuptiSession::Get(); }

// Attributes are kept and given back; nothing here needs them.
std::mutex attribute_mutex;
std::map<int, std::string>& Attributes() {
  static auto* attributes = new std::map<int, std::string>;
  return *attributes;
}

}  // namespace

// Without a driver the libraries of CUDA 13.3 and later give this answer to every call.
#define SIMGPU_REQUIRE_CUPTI() \
  if (Session().is("nodriver")) return CUPTI_ERROR_UNKNOWN

SIMGPU_API CUptiResult cuptiGetVersion(uint32_t* version) {
  SIMGPU_REQUIRE_CUPTI();
  *version = Session().version();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  SIMGPU_REQUIRE_CUPTI();
  thread_local char line[40];
  std::snprintf(line, sizeof line, "CUPTI result %d (simulated GPU)", static_cast<int>(result));
  *text = result == CUPTI_SUCCESS ? "CUPTI_SUCCESS" : line;
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiGetErrorMessage(CUptiResult result, const char** text) {
  return cuptiGetResultString(result, text);
}

SIMGPU_API CUptiResult cuptiGetTimestamp(uint64_t* timestamp) {
  SIMGPU_REQUIRE_CUPTI();
  *timestamp = Session().Stamp(CuptiSession::Now());
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiGetCallbackName(CUpti_CallbackDomain, uint32_t, const char** name) {
  SIMGPU_REQUIRE_CUPTI();
  *name = "simulated";
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* subscriber, CUpti_CallbackFunc callback, void* data) {
  SIMGPU_REQUIRE_CUPTI();
  return subscriber == nullptr ? CUPTI_ERROR_INVALID_PARAMETER : Session().Subscribe(subscriber, callback, data);
}

SIMGPU_API CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle subscriber) {
  SIMGPU_REQUIRE_CUPTI();
  return Session().Unsubscribe(subscriber);
}

SIMGPU_API CUptiResult cuptiEnableDomain(uint32_t on, CUpti_SubscriberHandle, CUpti_CallbackDomain domain) {
  SIMGPU_REQUIRE_CUPTI();
  return Session().EnableCallbacks(domain, on != 0);
}

SIMGPU_API CUptiResult cuptiEnableCallback(uint32_t on, CUpti_SubscriberHandle, CUpti_CallbackDomain domain,
                                           CUpti_CallbackId) {
  SIMGPU_REQUIRE_CUPTI();
  return Session().EnableCallbacks(domain, on != 0);
}

SIMGPU_API CUptiResult cuptiFinalize() {
  SIMGPU_REQUIRE_CUPTI();
  Session().Finalize();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                                      CUpti_BuffersCallbackCompleteFunc complete) {
  SIMGPU_REQUIRE_CUPTI();
  if (request == nullptr || complete == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  Session().Register(request, complete);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityRegisterTimestampCallback(CUpti_TimestampCallbackFunc clock) {
  SIMGPU_REQUIRE_CUPTI();
  Session().RegisterClock(clock);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind) {
  SIMGPU_REQUIRE_CUPTI();
  return Session().Enable(static_cast<uint32_t>(kind), true);
}

SIMGPU_API CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind) {
  SIMGPU_REQUIRE_CUPTI();
  return Session().Enable(static_cast<uint32_t>(kind), false);
}

SIMGPU_API CUptiResult cuptiActivityEnableRuntimeApi(CUpti_CallbackId function, uint8_t on) {
  SIMGPU_REQUIRE_CUPTI();
  Session().EnableApi(kRuntimeApi, function, on != 0);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityEnableDriverApi(CUpti_CallbackId function, uint8_t on) {
  SIMGPU_REQUIRE_CUPTI();
  Session().EnableApi(kDriverApi, function, on != 0);
  return CUPTI_SUCCESS;
}

// Records name their source in any case.
SIMGPU_API CUptiResult cuptiActivityEnableAllocationSource(uint8_t) {
  SIMGPU_REQUIRE_CUPTI();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityEnableCudaEventDeviceTimestamps(uint8_t) {
  SIMGPU_REQUIRE_CUPTI();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivitySetAttribute(CUpti_ActivityAttribute attribute, size_t* bytes, void* value) {
  SIMGPU_REQUIRE_CUPTI();
  if (bytes == nullptr || value == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  std::lock_guard lock(attribute_mutex);
  Attributes()[attribute].assign(static_cast<const char*>(value), *bytes);
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityGetAttribute(CUpti_ActivityAttribute attribute, size_t* bytes, void* value) {
  SIMGPU_REQUIRE_CUPTI();
  if (bytes == nullptr || value == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  std::lock_guard lock(attribute_mutex);
  const std::string& kept = Attributes()[attribute];
  if (*bytes < kept.size()) return CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT;
  std::memset(value, 0, *bytes);
  std::memcpy(value, kept.data(), kept.size());
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityFlushAll(uint32_t) {
  SIMGPU_REQUIRE_CUPTI();
  Session().Flush();
  return CUPTI_SUCCESS;
}

// Buffers that are full are handed over at once.
SIMGPU_API CUptiResult cuptiActivityFlushPeriod(uint32_t) {
  SIMGPU_REQUIRE_CUPTI();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityGetNextRecord(uint8_t* buffer, size_t valid, CUpti_Activity** record) {
  SIMGPU_REQUIRE_CUPTI();
  return CuptiSession::Next(buffer, valid, record);
}

SIMGPU_API CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext, uint32_t, size_t* dropped) {
  SIMGPU_REQUIRE_CUPTI();
  *dropped = Session().TakeDropped();
  return CUPTI_SUCCESS;
}

SIMGPU_API CUptiResult cuptiActivityPushExternalCorrelationId(CUpti_ExternalCorrelationKind kind, uint64_t id) {
  SIMGPU_REQUIRE_CUPTI();
  return PushExternalId(static_cast<uint32_t>(kind), id);
}

SIMGPU_API CUptiResult cuptiActivityPopExternalCorrelationId(CUpti_ExternalCorrelationKind kind, uint64_t* last) {
  SIMGPU_REQUIRE_CUPTI();
  return PopExternalId(static_cast<uint32_t>(kind), last);
}
