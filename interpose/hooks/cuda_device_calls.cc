#include "interpose/hooks/cuda_device_calls.h"

#include <stdlib.h>

#include <atomic>

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/collector.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/nvml.h"
#include "interpose/hooks/refusals.h"
#include "interpose/hooks/system_facts.h"
#include "interpose/python/py_api.h"
#include "interpose/python/python_part.h"
#include "interpose/python/python_stack.h"

namespace oomtrace {
namespace {

constexpr uint64_t kQuestionNs = 1000000;  // frequent calls are followed by at most one question a millisecond
std::atomic<uint64_t> last_question{0};
std::atomic<bool> own_context{false};
// The outermost real call of this thread. Somebody may leave it by longjmp or a C++ exception: from a frame at or above
// it (stacks grow down) it is seen to be over.
constinit thread_local const InsideCuda* outermost __attribute__((tls_model("initial-exec"))) = nullptr;

using wire::MemoryKind;

// Whether the device's free bytes are to be asked after the call: always after one that takes a segment, which is rare;
// now and then where each tensor or page makes one; never where no device memory is taken.
bool WorthAsking(MemoryKind kind, int result) {
  switch (kind) {
    case MemoryKind::kDevice:
    case MemoryKind::kManaged:
    case MemoryKind::kArray:
      return true;
    case MemoryKind::kPhysical:
    case MemoryKind::kPooled:
      break;
    default:
      return false;
  }
  if (result != 0) return true;
  const uint64_t now = ClockNs(CLOCK_MONOTONIC_COARSE);
  if (now - last_question.load(std::memory_order_relaxed) < kQuestionNs) return false;
  last_question.store(now, std::memory_order_relaxed);
  return true;
}

bool IsDeviceMemory(MemoryKind kind) {
  return kind == MemoryKind::kDevice || kind == MemoryKind::kManaged || kind == MemoryKind::kArray ||
         kind == MemoryKind::kPhysical || kind == MemoryKind::kPooled;
}

// PyTorch's allocator retries after a refusal and reports the final one itself, except where it only hands calls on.
bool ReportedByTorch(MemoryKind kind, const LibraryFound& library) {
  return library.caching_allocator && kind != MemoryKind::kPooled && kind != MemoryKind::kContext &&
         kind != MemoryKind::kCode && getenv("PYTORCH_NO_CUDA_MEMORY_CACHING") == nullptr;
}

void RecordDeviceRefusal(Entry& entry, uint64_t bytes, uint32_t device) {
  Refusal refusal;
  refusal.source = wire::OutOfMemorySource::kDeviceCall;
  refusal.bytes = bytes;
  refusal.device = device;
  QueryMemory(&refusal.device_free, &refusal.device_total);
  RecordRefusal(entry, refusal, AttributeAllocation(entry.thread()));
}

uint32_t DeviceIndex(int device) {
  return device == kCurrentDevice || device < 0 ? CurrentDevice() : static_cast<uint32_t>(device);
}

DeviceCall Describe(Recorder& recorder, const HookSite& site, const LibraryFound& library) {
  DeviceCall call;
  call.library = library.id;
  call.caller = library.offset;
  call.api = recorder.facts().String(ApiName(HookOf(site.id).symbol));
  return call;
}

// True where PyTorch's allocator called, or nothing is recorded.
bool RecordCall(const HookSite& site, const DeviceAllocation& allocation, int result) {
  Entry entry(Cause::kMemory);
  if (!entry) return true;
  Recorder& recorder = entry.recorder();
  const uint64_t ticks = Ticks();
  const LibraryFound library = recorder.libraries().Find(site.caller, recorder.facts());
  if (!library.caching_allocator) TrustFirstStack();
  DeviceCall call = Describe(recorder, site, library);
  call.address = allocation.block;
  call.bytes = allocation.bytes;
  const bool device_memory = allocation.kind == MemoryKind::kDevice || allocation.kind == MemoryKind::kPooled;
  call.attribution =
      AttributeAllocation(entry.thread(), device_memory ? HookFrame{site.caller, site.frame} : HookFrame(), call.bytes);
  call.device = DeviceIndex(allocation.device);
  call.result = static_cast<uint32_t>(result);
  call.kind = allocation.kind;
  call.stream = allocation.stream;
  call.handle = allocation.handle;
  call.cuda_context = own_context.load(std::memory_order_relaxed) ? CurrentContext() : 0;
  if (!library.caching_allocator) WriteDeviceOnce(recorder, call.device);
  RecordDeviceAlloc(entry.thread(), ticks, call);
  uint64_t free, total;
  if (WorthAsking(allocation.kind, result) && QueryMemory(&free, &total))
    RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
  if (result == kDeviceIsFull && !ReportedByTorch(allocation.kind, library)) {
    RecordDeviceRefusal(entry, allocation.bytes, call.device);
    if (!library.caching_allocator) {  // for that the Python part does, without its lock
      RecordProcessesOf(entry.thread(), call.device);
    }
    RequestPythonPart(PythonTask::kOutOfMemory);
  } else {
    RequestPythonPart(PythonTask::kDeviceCall);
  }
  return library.caching_allocator;
}

}  // namespace

InsideCuda::InsideCuda() {
  if (outermost == nullptr || outermost <= this) outermost = this;
}

InsideCuda::~InsideCuda() {
  if (outermost == this) outermost = nullptr;
}

bool InsideCuda::Now() {
  if (reinterpret_cast<uintptr_t>(outermost) > reinterpret_cast<uintptr_t>(__builtin_frame_address(0))) return true;
  outermost = nullptr;
  return false;
}

FreeBytes FreeBytesNow() {
  FreeBytes now;
  uint64_t total;
  now.known = HasCurrentContext() && QueryMemory(&now.free, &total);
  return now;
}

void NoteOwnContext() { own_context.store(true, std::memory_order_relaxed); }

void RecordDeviceAllocation(const HookSite& site, const DeviceAllocation& allocation, int result) {
  // What failed without having been about memory (a graph node with wrong arguments) is nobody's business.
  if (result != 0 && !IsDeviceMemory(allocation.kind)) return;
  // PyTorch's allocator holds its lock when it calls.
  if (RecordCall(site, allocation, result)) return;
  TickSlowClock();
  if (result == 0) DevicesFound();  // by a program that never asked for their number
}

// Calls that name their device make a context there. Of the others, where there is one, what found no room is code, or
// else the driver's own.
void RecordRefusedCall(const HookSite& site, int device) {
  const bool context = device != kCurrentDevice || !HasCurrentContext();
  const MemoryKind kind = context ? MemoryKind::kContext : MemoryKind::kCode;
  RecordCall(site, {.kind = kind, .device = device}, kDeviceIsFull);
}

void RecordMeasured(const HookSite& site, const DeviceAllocation& allocation, const FreeBytes& before) {
  uint64_t free = 0, total = 0;
  const bool known = HasCurrentContext() && QueryMemory(&free, &total);
  const uint64_t taken = before.known && known && before.free > free ? before.free - free : 0;
  Entry entry(taken > 0 ? Cause::kMemory : Cause::kFact);
  if (!entry) return;
  Recorder& recorder = entry.recorder();
  DeviceCall call = Describe(recorder, site, recorder.libraries().Find(site.caller, recorder.facts()));
  call.address = allocation.block;
  call.bytes = taken;
  call.device = DeviceIndex(allocation.device);
  call.kind = allocation.kind;
  RecordDeviceAlloc(entry.thread(), Ticks(), call);
  if (known) RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
  WriteDeviceOnce(recorder, call.device);
}

void RecordDeviceRelease(const HookSite& site, const Returned& returned, uint64_t ticks) {
  Entry entry(Cause::kFact);
  if (!entry) return;
  Recorder& recorder = entry.recorder();
  DeviceCall call = Describe(recorder, site, recorder.libraries().Find(site.caller, recorder.facts()));
  call.address = returned.block;
  call.bytes = returned.bytes;
  call.device = DeviceIndex(returned.device);
  call.kind = returned.kind;
  call.stream = returned.stream;
  RecordDeviceFree(entry.thread(), ticks, call);
}

void RecordMemoryAnswer(uint64_t free, uint64_t total) {
  if (InsideCuda::Now()) return;
  Entry entry(Cause::kFact);
  if (entry) RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
}

void RecordMemoryNow() {
  Entry entry(Cause::kFact);
  uint64_t free, total;
  if (entry && QueryMemory(&free, &total)) RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
}

void RecordCopyFromHost(const void* destination, size_t bytes) {
  if (bytes < kSmallestCopy || InsideCuda::Now()) return;
  Entry entry(Cause::kFact);
  if (entry) RecordHostCopy(entry.thread(), reinterpret_cast<uint64_t>(destination), bytes, CurrentDevice());
}

}  // namespace oomtrace
