// The functions of CUPTI that the collector calls, found by name in the library that the process has loaded: one binary
// serves CUPTI 12.1 to 13.5. A test puts functions of its own here.
#pragma once

#include <cupti.h>

namespace oomtrace::cupti {

struct Api {
  decltype(&cuptiGetVersion) get_version;
  decltype(&cuptiGetTimestamp) get_timestamp;
  decltype(&cuptiSubscribe) subscribe;
  decltype(&cuptiUnsubscribe) unsubscribe;
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
  decltype(&cuptiActivityEnable) enable;
  decltype(&cuptiActivityDisable) disable;
  decltype(&cuptiActivityFlushAll) flush_all;
  decltype(&cuptiActivityGetNextRecord) next_record;
  decltype(&cuptiActivityGetNumDroppedRecords) dropped_records;
  decltype(&cuptiActivitySetAttribute) set_attribute;
  decltype(&cuptiActivityPushExternalCorrelationId) push_external_id;
  decltype(&cuptiActivityPopExternalCorrelationId) pop_external_id;
  decltype(&cuptiActivityRegisterTimestampCallback) register_clock;
  // Not in every version; nullptr there.
  decltype(&cuptiActivityEnableRuntimeApi) enable_runtime_api;
  decltype(&cuptiActivityEnableDriverApi) enable_driver_api;
  CUptiResult (*enable_allocation_source)(uint8_t enable);
};

// nullptr where all that is needed was found; else the name of a function that the library lacks.
const char* FindApi(void* library, Api* api);

// "another tool is subscribed" and the like; the library's own text may be missing where there is no driver.
const char* Describe(CUptiResult result);

}  // namespace oomtrace::cupti
