#include "cupti/decode.h"

#include <cupti.h>

#include <cstddef>
#include <cstring>

namespace oomtrace::cupti {
namespace {

// The layouts below are those of the headers that this is built with; each number is one that older libraries share.
static_assert(offsetof(CUpti_ActivityKernel10, start) == 16 && offsetof(CUpti_ActivityKernel10, end) == 24);
static_assert(offsetof(CUpti_ActivityKernel10, deviceId) == 40 && offsetof(CUpti_ActivityKernel10, streamId) == 48);
static_assert(offsetof(CUpti_ActivityKernel10, correlationId) == 92 && offsetof(CUpti_ActivityKernel10, name) == 104);
static_assert(offsetof(CUpti_ActivityKernel10, graphId) == 156);
static_assert(offsetof(CUpti_ActivityKernel10, localMemoryTotal_v2) == 192);
static_assert(offsetof(CUpti_ActivityMemcpy6, bytes) == 8 && offsetof(CUpti_ActivityMemcpy6, start) == 16);
static_assert(offsetof(CUpti_ActivityMemcpy6, deviceId) == 32 && offsetof(CUpti_ActivityMemcpy6, streamId) == 40);
static_assert(offsetof(CUpti_ActivityMemcpy6, correlationId) == 44 && offsetof(CUpti_ActivityMemcpy6, graphId) == 72);
static_assert(offsetof(CUpti_ActivityMemset4, bytes) == 8 && offsetof(CUpti_ActivityMemset4, start) == 16);
static_assert(offsetof(CUpti_ActivityMemset4, correlationId) == 44 && offsetof(CUpti_ActivityMemset4, graphId) == 72);
static_assert(offsetof(CUpti_ActivityMemory4, address) == 16 && offsetof(CUpti_ActivityMemory4, timestamp) == 32);
static_assert(offsetof(CUpti_ActivityMemory4, deviceId) == 52 && offsetof(CUpti_ActivityMemory4, name) == 64);
static_assert(offsetof(CUpti_ActivityMemory4, isAsync) == 72 && offsetof(CUpti_ActivityMemory4, source) == 120);
static_assert(offsetof(CUpti_ActivityMemoryPool3, address) == 32 && offsetof(CUpti_ActivityMemoryPool3, size) == 40);
static_assert(offsetof(CUpti_ActivityMemoryPool3, timestamp) == 56);

Decoded OfActivity(ActivityKind kind, uint64_t start, uint64_t end) {
  Decoded decoded;
  decoded.what = Decoded::What::kActivity;
  decoded.activity.kind = kind;
  decoded.activity.start = start;
  decoded.activity.end = end;
  // Both zero: no buffer of CUPTI's on the device was free.
  decoded.untimed = start == 0 || end < start;
  return decoded;
}

Decoded Kernel(const CUpti_ActivityKernel10& record) {
  Decoded decoded = OfActivity(ActivityKind::kKernel, record.start, record.end);
  Activity& activity = decoded.activity;
  activity.correlation = record.correlationId;
  activity.device = record.deviceId;
  activity.stream = record.streamId;
  activity.name = record.name;
  activity.local_memory = record.localMemoryTotal_v2;
  activity.graph = record.graphId;
  return decoded;
}

template <typename Record>
Decoded CopyOrFill(ActivityKind kind, const Record& record) {
  Decoded decoded = OfActivity(kind, record.start, record.end);
  Activity& activity = decoded.activity;
  activity.correlation = record.correlationId;
  activity.device = record.deviceId;
  activity.stream = record.streamId;
  activity.bytes = record.bytes;
  activity.graph = record.graphId;
  return decoded;
}

Decoded MemoryChange(const CUpti_ActivityMemory4& record, uint32_t version) {
  Decoded decoded;
  decoded.what = Decoded::What::kMemory;
  Memory& memory = decoded.memory;
  memory.release = record.memoryOperationType == CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_RELEASE;
  memory.kind = record.memoryKind;
  memory.address = record.address;
  memory.bytes = record.bytes;
  memory.time = record.timestamp;
  memory.device = record.deviceId;
  memory.name = record.name;
  if (record.isAsync != 0 && record.memoryPoolConfig.memoryPoolType == CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL) {
    memory.pool_reserved = record.memoryPoolConfig.pool.size;
    memory.pool_used = record.memoryPoolConfig.utilizedSize;
  }
  if (version >= kSourceSince) memory.source = record.source;
  return decoded;
}

Decoded OfResource(ResourceKind kind, uint64_t identity, uint64_t bytes) {
  Decoded decoded;
  decoded.what = Decoded::What::kResource;
  decoded.resource.kind = kind;
  decoded.resource.identity = identity;
  decoded.resource.bytes = bytes;
  return decoded;
}

Decoded Pool(const CUpti_ActivityMemoryPool3& record) {
  const bool gone = record.memoryPoolOperationType == CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_DESTROYED;
  Decoded decoded = OfResource(ResourceKind::kPool, record.address, gone ? 0 : record.size);
  decoded.resource.time = record.timestamp;
  decoded.resource.device = record.deviceId;
  decoded.resource.detail = record.memoryPoolOperationType;
  return decoded;
}

Decoded Overhead(const CUpti_ActivityOverhead3& record) {
  Decoded decoded = OfResource(ResourceKind::kOverhead, 0, 0);
  decoded.resource.time = record.start;
  decoded.resource.duration = record.end >= record.start ? record.end - record.start : 0;
  decoded.resource.detail = record.overheadKind;
  return decoded;
}

template <typename Record>
const Record& As(const void* record) {
  return *static_cast<const Record*>(record);
}

}  // namespace

Decoded Decode(const void* record, uint32_t version) {
  switch (As<CUpti_Activity>(record).kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
    case CUPTI_ACTIVITY_KIND_KERNEL:
      return Kernel(As<CUpti_ActivityKernel10>(record));
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return CopyOrFill(ActivityKind::kCopy, As<CUpti_ActivityMemcpy6>(record));
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return CopyOrFill(ActivityKind::kFill, As<CUpti_ActivityMemset4>(record));
    case CUPTI_ACTIVITY_KIND_MEMORY2:
      return MemoryChange(As<CUpti_ActivityMemory4>(record), version);
    case CUPTI_ACTIVITY_KIND_MEMORY_POOL:
      return Pool(As<CUpti_ActivityMemoryPool3>(record));
    case CUPTI_ACTIVITY_KIND_MODULE: {
      const auto& module = As<CUpti_ActivityModule>(record);
      return OfResource(ResourceKind::kModule, module.id, module.cubinSize);
    }
    case CUPTI_ACTIVITY_KIND_CONTEXT: {
      const auto& context = As<CUpti_ActivityContext3>(record);
      Decoded decoded = OfResource(ResourceKind::kContext, context.contextId, 0);
      decoded.resource.device = context.deviceId;
      return decoded;
    }
    case CUPTI_ACTIVITY_KIND_OVERHEAD:
      return Overhead(As<CUpti_ActivityOverhead3>(record));
    case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
      const auto& external = As<CUpti_ActivityExternalCorrelation>(record);
      Decoded decoded;
      if (external.externalKind != CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM2) return decoded;
      decoded.what = Decoded::What::kCorrelation;
      decoded.launch = external.externalId;
      decoded.correlation = external.correlationId;
      return decoded;
    }
    default:
      return {};
  }
}

}  // namespace oomtrace::cupti
