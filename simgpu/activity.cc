#include "simgpu/activity.h"

#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "simgpu/address_space.h"
#include "simgpu/machine.h"
#include "simgpu/streams.h"

namespace oomtrace::simgpu {
namespace {

constexpr uint64_t kLaunchNs = 2000;  // from a launch to the kernel's start on an idle stream
constexpr uint64_t kKernelNs = 1000;  // shortest kernel, and one nanosecond more for each block
constexpr uint64_t kMostKernelNs = 20000;
constexpr uint64_t kHostBytesPerNs = 25;      // PCIe 4 x16
constexpr uint64_t kDeviceBytesPerNs = 1000;  // of the order of a current card's memory
constexpr uint32_t kDefaultStream = 7;        // what CUPTI calls the stream 0 of the first context

constexpr size_t kExternalKinds = CUPTI_EXTERNAL_CORRELATION_KIND_SIZE;
constexpr size_t kExternalDepth = 64;

struct ExternalIds {
  uint64_t id[kExternalKinds][kExternalDepth];
  size_t depth[kExternalKinds];
};
thread_local ExternalIds external;
thread_local uint32_t correlation = 0;  // of the call that runs on this thread
thread_local int depth = 0;
std::atomic<uint32_t> next_correlation{1};

CuptiSession& Session() { return CuptiSession::Get(); }

// Prefixes of CUpti_ActivityKernel10 and CUpti_ActivityMemory4: what older libraries write. Newer ones append fields
// that stay zero here.
size_t KernelBytes() { return Session().version() < 130000 ? 208 : 216; }
size_t MemoryBytes() { return Session().version() < 24 ? 120 : 128; }

struct Timeline {
  std::mutex mutex;
  std::map<uintptr_t, uint64_t> busy_until;
  std::map<uintptr_t, uint32_t> stream_ids;
  std::map<uintptr_t, std::vector<KernelRun>> captured;  // by capture, graph or executable
  std::map<uintptr_t, uint32_t> graph_ids;
  uint64_t last_end = 0;
};
Timeline& All() {
  static Timeline* timeline = new Timeline;
  return *timeline;
}

struct Slot {
  uint64_t start;
  uint64_t end;
  uint32_t stream_id;
};
Slot Schedule(uintptr_t stream, uint64_t duration) {
  Timeline& all = All();
  std::lock_guard lock(all.mutex);
  uint64_t& busy = all.busy_until[stream];
  Slot slot;
  slot.start = std::max(CuptiSession::Now() + kLaunchNs, busy);
  slot.end = busy = slot.start + duration;
  all.last_end = std::max(all.last_end, slot.end);
  const auto fresh = static_cast<uint32_t>(kDefaultStream + 6 + all.stream_ids.size());
  slot.stream_id = stream == 0 ? kDefaultStream : all.stream_ids.try_emplace(stream, fresh).first->second;
  return slot;
}

uint32_t Device() { return static_cast<uint32_t>(Machine::current_device()); }
uint32_t ContextId(uint32_t device) { return device + 1; }

// The correlation id of the running call; work outside any call that CUPTI knows gets one of its own.
uint32_t Correlation() { return correlation != 0 ? correlation : next_correlation.fetch_add(1); }

void PutExternalIds(uint32_t id) {
  for (uint32_t kind = 1; kind < kExternalKinds; ++kind) {
    if (external.depth[kind] == 0) continue;
    CUpti_ActivityExternalCorrelation record = {};
    record.kind = CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION;
    record.externalKind = static_cast<CUpti_ExternalCorrelationKind>(kind);
    record.externalId = external.id[kind][std::min(external.depth[kind], kExternalDepth) - 1];
    record.correlationId = id;
    Session().Put(&record, sizeof record);
  }
}

void CallBack(uint32_t kind, uint32_t cbid, const char* name, CUpti_ApiCallbackSite site) {
  const CUpti_CallbackDomain domain = kind == kRuntimeApi ? CUPTI_CB_DOMAIN_RUNTIME_API : CUPTI_CB_DOMAIN_DRIVER_API;
  if (!Session().calls(domain)) return;
  CUpti_CallbackData data = {};
  data.callbackSite = site;
  data.functionName = name;
  data.correlationId = correlation;
  data.contextUid = ContextId(Device());
  Session().Call(domain, cbid, &data);
}

void PutKernel(const KernelRun& kernel, uintptr_t stream, uint32_t graph, uint64_t node) {
  if (!Session().enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL)) return;
  const uint64_t blocks = uint64_t{kernel.grid[0]} * kernel.grid[1] * kernel.grid[2];
  const Slot slot = Schedule(stream, std::min(kKernelNs + blocks, kMostKernelNs));
  CUpti_ActivityKernel10 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
  if (!Session().is("zerotime")) {
    record.start = Session().Stamp(slot.start);
    record.end = Session().Stamp(slot.end);
    record.completed = record.end;
  }
  record.deviceId = Device();
  record.contextId = ContextId(record.deviceId);
  record.streamId = slot.stream_id;
  record.registersPerThread = 32;
  record.gridX = static_cast<int32_t>(kernel.grid[0]);
  record.gridY = static_cast<int32_t>(kernel.grid[1]);
  record.gridZ = static_cast<int32_t>(kernel.grid[2]);
  record.blockX = static_cast<int32_t>(kernel.block[0]);
  record.blockY = static_cast<int32_t>(kernel.block[1]);
  record.blockZ = static_cast<int32_t>(kernel.block[2]);
  record.dynamicSharedMemory = static_cast<int32_t>(kernel.shared_bytes);
  record.correlationId = Correlation();
  record.gridId = record.correlationId;
  record.name = kernel.name;
  record.graphId = graph;
  record.graphNodeId = node;
  Session().Put(&record, KernelBytes());
}

uint32_t CopyKind(bool to_device, bool from_device) {
  if (to_device && from_device) return CUPTI_ACTIVITY_MEMCPY_KIND_DTOD;
  if (to_device) return CUPTI_ACTIVITY_MEMCPY_KIND_HTOD;
  return from_device ? CUPTI_ACTIVITY_MEMCPY_KIND_DTOH : CUPTI_ACTIVITY_MEMCPY_KIND_HTOH;
}

}  // namespace

void ApiCall::Enter() {
  entered_ = true;
  if (depth++ > 0) return;
  correlation = next_correlation.fetch_add(1);
  start_ = CuptiSession::Now();
  CallBack(kind_, cbid_, name_, CUPTI_API_ENTER);
  // Before what the call enqueues: Kineto looks the correlation up when it meets a kernel.
  if (Session().enabled(CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION) && Session().api_enabled(kind_, cbid_))
    PutExternalIds(correlation);
}

void ApiCall::Leave() {
  if (--depth > 0) return;
  CallBack(kind_, cbid_, name_, CUPTI_API_EXIT);
  if (Session().api_enabled(kind_, cbid_)) {
    CUpti_ActivityAPI record = {};
    record.kind = static_cast<CUpti_ActivityKind>(kind_);
    record.cbid = cbid_;
    record.start = Session().Stamp(start_);
    record.end = Session().Stamp(CuptiSession::Now());
    record.processId = static_cast<uint32_t>(getpid());
    record.threadId = static_cast<uint32_t>(pthread_self());
    record.correlationId = correlation;
    Session().Put(&record, sizeof record);
  }
  correlation = 0;
}

void RunKernel(const KernelRun& kernel, uintptr_t stream) {
  if (Streams::Capturing()) {
    if (const uint64_t capture = Streams::Get().CaptureOf(stream)) {
      std::lock_guard lock(All().mutex);
      All().captured[capture].push_back(kernel);
      return;
    }
  }
  if (CuptiSession::Watched()) PutKernel(kernel, stream, 0, 0);
}

void RunCopy(const void* to, const void* from, size_t bytes, uintptr_t stream, bool asynchronous) {
  if (!CuptiSession::Watched() || !Session().enabled(CUPTI_ACTIVITY_KIND_MEMCPY) || bytes == 0) return;
  const bool to_device = AddressSpace::Get().IsDevice(to);
  const bool from_device = AddressSpace::Get().IsDevice(from);
  const uint64_t rate = to_device && from_device ? kDeviceBytesPerNs : kHostBytesPerNs;
  const Slot slot = Schedule(stream, kKernelNs + std::min<uint64_t>(bytes / rate, kMostKernelNs));
  CUpti_ActivityMemcpy6 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMCPY;
  record.copyKind = static_cast<uint8_t>(CopyKind(to_device, from_device));
  record.srcKind = from_device ? CUPTI_ACTIVITY_MEMORY_KIND_DEVICE : CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE;
  record.dstKind = to_device ? CUPTI_ACTIVITY_MEMORY_KIND_DEVICE : CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE;
  record.flags = asynchronous ? CUPTI_ACTIVITY_FLAG_MEMCPY_ASYNC : 0;
  record.bytes = bytes;
  record.start = Session().Stamp(slot.start);
  record.end = Session().Stamp(slot.end);
  record.deviceId = Device();
  record.contextId = ContextId(record.deviceId);
  record.streamId = slot.stream_id;
  record.correlationId = Correlation();
  Session().Put(&record, sizeof record);
  if (!asynchronous) WaitForActivity();
}

void RunFill(const void* to, int value, size_t bytes, uintptr_t stream) {
  if (!CuptiSession::Watched() || !Session().enabled(CUPTI_ACTIVITY_KIND_MEMSET) || bytes == 0) return;
  const Slot slot = Schedule(stream, kKernelNs + std::min<uint64_t>(bytes / kDeviceBytesPerNs, kMostKernelNs));
  CUpti_ActivityMemset4 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMSET;
  record.value = static_cast<uint32_t>(value);
  record.bytes = bytes;
  record.start = Session().Stamp(slot.start);
  record.end = Session().Stamp(slot.end);
  record.deviceId = Device();
  record.contextId = ContextId(record.deviceId);
  record.streamId = slot.stream_id;
  record.correlationId = Correlation();
  record.memoryKind =
      AddressSpace::Get().IsDevice(to) ? CUPTI_ACTIVITY_MEMORY_KIND_DEVICE : CUPTI_ACTIVITY_MEMORY_KIND_PINNED;
  Session().Put(&record, sizeof record);
}

void KeepCapture(uint64_t capture, uintptr_t graph) {
  std::lock_guard lock(All().mutex);
  const auto found = All().captured.find(capture);
  if (found == All().captured.end()) return;
  All().captured[graph] = std::move(found->second);
  All().captured.erase(capture);
}

void KeepGraph(uintptr_t graph, uintptr_t executable) {
  std::lock_guard lock(All().mutex);
  const auto found = All().captured.find(graph);
  if (found != All().captured.end()) All().captured[executable] = found->second;
  All().graph_ids.try_emplace(executable, static_cast<uint32_t>(All().graph_ids.size() + 1));
}

void ForgetGraph(uintptr_t handle) {
  std::lock_guard lock(All().mutex);
  All().captured.erase(handle);
}

void RunGraph(uintptr_t executable, uintptr_t stream) {
  if (!CuptiSession::Watched()) return;
  std::vector<KernelRun> kernels;
  uint32_t graph = 0;
  {
    std::lock_guard lock(All().mutex);
    const auto found = All().captured.find(executable);
    if (found == All().captured.end()) return;
    kernels = found->second;
    graph = All().graph_ids[executable];
  }
  uint64_t node = uint64_t{graph} << 32;
  for (const KernelRun& kernel : kernels) PutKernel(kernel, stream, graph, ++node);
}

void ChangeMemory(const MemoryChange& change, const void* caller) {
  if (!CuptiSession::Watched() || !Session().enabled(CUPTI_ACTIVITY_KIND_MEMORY2)) return;
  CUpti_ActivityMemory4 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMORY2;
  record.memoryOperationType = change.allocation ? CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION
                                                 : CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_RELEASE;
  record.memoryKind = static_cast<CUpti_ActivityMemoryKind>(change.kind);
  record.correlationId = Correlation();
  record.address = change.address;
  record.bytes = change.bytes;
  record.timestamp = Session().Stamp(CuptiSession::Now());
  record.PC = reinterpret_cast<uint64_t>(caller);
  record.processId = static_cast<uint32_t>(getpid());
  record.deviceId = static_cast<uint32_t>(change.device);
  record.contextId = ContextId(record.deviceId);
  record.isAsync = change.asynchronous ? 1 : 0;
  if (change.pool != 0) {
    record.memoryPoolConfig.memoryPoolType = CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL;
    record.memoryPoolConfig.address = change.pool;
    record.memoryPoolConfig.releaseThreshold = change.pool_threshold;
    record.memoryPoolConfig.pool.size = change.pool_reserved;
    record.memoryPoolConfig.utilizedSize = change.pool_used;
  }
  Dl_info where;
  if (caller != nullptr && dladdr(caller, &where) != 0) record.source = where.dli_fname;
  Session().Put(&record, MemoryBytes());
}

void ChangePool(uint32_t operation, uint64_t pool, int device, uint64_t reserved, uint64_t used, uint64_t threshold) {
  if (!CuptiSession::Watched() || !Session().enabled(CUPTI_ACTIVITY_KIND_MEMORY_POOL)) return;
  CUpti_ActivityMemoryPool3 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMORY_POOL;
  record.memoryPoolOperationType = static_cast<CUpti_ActivityMemoryPoolOperationType>(operation);
  record.memoryPoolType = CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL;
  record.correlationId = Correlation();
  record.processId = static_cast<uint32_t>(getpid());
  record.deviceId = static_cast<uint32_t>(device);
  record.address = pool;
  record.size = reserved;
  record.utilizedSize = used;
  record.releaseThreshold = threshold;
  record.timestamp = Session().Stamp(CuptiSession::Now());
  Session().Put(&record, Session().version() < 130000 ? 72 : sizeof record);
}

void LoadModule(uint32_t id, uint32_t bytes, int device) {
  if (!CuptiSession::Watched() || !Session().enabled(CUPTI_ACTIVITY_KIND_MODULE)) return;
  CUpti_ActivityModule record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MODULE;
  record.contextId = ContextId(static_cast<uint32_t>(device));
  record.id = id;
  record.cubinSize = bytes;
  Session().Put(&record, sizeof record);
}

void CreateContext(int device) {
  if (!CuptiSession::Watched()) return;
  const auto index = static_cast<uint32_t>(device);
  if (Session().enabled(CUPTI_ACTIVITY_KIND_CONTEXT)) {
    CUpti_ActivityContext3 record = {};
    record.kind = CUPTI_ACTIVITY_KIND_CONTEXT;
    record.contextId = ContextId(index);
    record.deviceId = index;
    record.computeApiKind = CUPTI_ACTIVITY_COMPUTE_API_CUDA;
    Session().Put(&record, sizeof record);
  }
  // CUPTI's own buffers, made with the context: their share of time is told, their size is not.
  if (Session().enabled(CUPTI_ACTIVITY_KIND_OVERHEAD) && Session().enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL)) {
    CUpti_ActivityOverhead3 record = {};
    record.kind = CUPTI_ACTIVITY_KIND_OVERHEAD;
    record.overheadKind = CUPTI_ACTIVITY_OVERHEAD_CUPTI_RESOURCE;
    record.objectKind = CUPTI_ACTIVITY_OBJECT_THREAD;
    record.start = Session().Stamp(CuptiSession::Now());
    record.end = record.start + kKernelNs;
    Session().Put(&record, sizeof record);
  }
  CUpti_ResourceData data = {};
  data.context = reinterpret_cast<CUcontext>(static_cast<uintptr_t>(ContextId(index)));
  Session().Call(CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_CONTEXT_CREATED, &data);
}

void WaitForActivity() {
  if (!CuptiSession::Watched()) return;
  uint64_t end = 0;
  {
    std::lock_guard lock(All().mutex);
    end = All().last_end;
  }
  const uint64_t now = CuptiSession::Now();
  if (end <= now) return;
  const timespec rest = {static_cast<time_t>((end - now) / 1000000000u), static_cast<long>((end - now) % 1000000000u)};
  nanosleep(&rest, nullptr);
}

CUptiResult PushExternalId(uint32_t kind, uint64_t id) {
  if (kind == 0 || kind >= kExternalKinds) return CUPTI_ERROR_INVALID_PARAMETER;
  if (external.depth[kind] < kExternalDepth) external.id[kind][external.depth[kind]] = id;
  ++external.depth[kind];
  return CUPTI_SUCCESS;
}

CUptiResult PopExternalId(uint32_t kind, uint64_t* id) {
  if (kind == 0 || kind >= kExternalKinds) return CUPTI_ERROR_INVALID_PARAMETER;
  if (external.depth[kind] == 0) return CUPTI_ERROR_QUEUE_EMPTY;
  const size_t top = --external.depth[kind];
  if (id != nullptr) *id = top < kExternalDepth ? external.id[kind][top] : 0;
  return CUPTI_SUCCESS;
}

}  // namespace oomtrace::simgpu
