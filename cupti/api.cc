#include "cupti/api.h"

#include <dlfcn.h>

namespace oomtrace::cupti {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

}  // namespace

const char* FindApi(void* library, Api* api) {
  *api = {};
#define NEED(field, name) \
  if (!Find(library, #name, &api->field)) return #name
  NEED(get_version, cuptiGetVersion);
  NEED(get_timestamp, cuptiGetTimestamp);
  NEED(subscribe, cuptiSubscribe);
  NEED(unsubscribe, cuptiUnsubscribe);
  NEED(register_callbacks, cuptiActivityRegisterCallbacks);
  NEED(enable, cuptiActivityEnable);
  NEED(disable, cuptiActivityDisable);
  NEED(flush_all, cuptiActivityFlushAll);
  NEED(next_record, cuptiActivityGetNextRecord);
  NEED(dropped_records, cuptiActivityGetNumDroppedRecords);
  NEED(set_attribute, cuptiActivitySetAttribute);
  NEED(push_external_id, cuptiActivityPushExternalCorrelationId);
  NEED(pop_external_id, cuptiActivityPopExternalCorrelationId);
  NEED(register_clock, cuptiActivityRegisterTimestampCallback);
#undef NEED
  Find(library, "cuptiActivityEnableRuntimeApi", &api->enable_runtime_api);
  Find(library, "cuptiActivityEnableDriverApi", &api->enable_driver_api);
  Find(library, "cuptiActivityEnableAllocationSource", &api->enable_allocation_source);
  return nullptr;
}

const char* Describe(CUptiResult result) {
  switch (static_cast<int>(result)) {
    case CUPTI_ERROR_NOT_INITIALIZED:
      return "CUPTI is not initialized: no driver, or one too old for it";
    case CUPTI_ERROR_UNKNOWN:
      return "CUPTI fails: it finds no driver that it works with";
    case CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED:
      return "another tool (Nsight, a profiler, a debugger) holds CUPTI";
    case CUPTI_ERROR_INSUFFICIENT_PRIVILEGES:
    case CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES:
      return "the driver does not permit profiling";
    case CUPTI_ERROR_NOT_COMPATIBLE:
      return "another client uses CUPTI's newer interface, which excludes this one";
    case CUPTI_ERROR_NOT_SUPPORTED:
      return "CUPTI does not support this device";
    case CUPTI_ERROR_DISABLED:
      return "CUPTI is switched off";
    default:
      return "CUPTI answers with an error";
  }
}

}  // namespace oomtrace::cupti
