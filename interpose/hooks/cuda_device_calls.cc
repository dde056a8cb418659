#include "interpose/hooks/cuda_device_calls.h"

#include <stdlib.h>

#include <atomic>

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/python/python_part.h"

namespace oomtrace {
namespace {

constexpr int kOutOfMemory = 2;
constexpr uint64_t kQuestionNs = 1000000;  // at most one question a millisecond, see MemoryQuestion::kNowAndThen
std::atomic<uint64_t> last_question{0};
constinit thread_local int runtime_depth __attribute__((tls_model("initial-exec"))) = 0;

bool WorthAsking(const DeviceAllocation& allocation) {
  if (allocation.question == MemoryQuestion::kAlways || allocation.result != 0) return true;
  const uint64_t now = ClockNs(CLOCK_MONOTONIC_COARSE);
  if (now - last_question.load(std::memory_order_relaxed) < kQuestionNs) return false;
  last_question.store(now, std::memory_order_relaxed);
  return true;
}

// PyTorch's allocator retries after a refusal and reports the final one itself, except where it only hands calls on.
bool ReportedByTorch(const DeviceAllocation& allocation, const LibraryFound& library) {
  return library.caching_allocator && allocation.question == MemoryQuestion::kAlways &&
         getenv("PYTORCH_NO_CUDA_MEMORY_CACHING") == nullptr;
}

void RecordRefusal(Entry& entry, const DeviceAllocation& allocation, uint32_t device) {
  Refusal refusal;
  refusal.source = wire::OutOfMemorySource::kDeviceCall;
  refusal.bytes = allocation.bytes;
  refusal.device = device;
  QueryMemory(&refusal.device_free, &refusal.device_total);
  RecordOutOfMemory(entry.thread(), refusal, AttributeAllocation(entry.thread()));
  entry.recorder().NoteOutOfMemory();
}

}  // namespace

InsideRuntime::InsideRuntime() { ++runtime_depth; }
InsideRuntime::~InsideRuntime() { --runtime_depth; }

void RecordDeviceAllocation(const DeviceAllocation& allocation) {
  if (runtime_depth > 0) return;
  Entry entry(Cause::kMemory);
  if (!entry) return;
  Recorder& recorder = entry.recorder();
  const uint64_t ticks = Ticks();
  const LibraryFound library = recorder.libraries().Find(allocation.caller, recorder.facts());
  DeviceCall call;
  call.address = allocation.address;
  call.bytes = allocation.bytes;
  call.attribution = AttributeAllocation(entry.thread());
  call.library = library.id;
  call.api = recorder.facts().String(allocation.api);
  call.device = CurrentDevice();
  call.result = static_cast<uint32_t>(allocation.result);
  RecordDeviceAlloc(entry.thread(), ticks, call);
  uint64_t free, total;
  if (WorthAsking(allocation) && QueryMemory(&free, &total)) RecordMemoryInfo(entry.thread(), call.device, free, total);
  if (allocation.result == kOutOfMemory && !ReportedByTorch(allocation, library)) {
    RecordRefusal(entry, allocation, call.device);
    RequestPythonPart(PythonTask::kOutOfMemory);
  } else {
    RequestPythonPart(PythonTask::kBegin);
  }
}

void RecordDeviceRelease(const char* api, const void* caller, const void* pointer, uint64_t ticks) {
  if (runtime_depth > 0) return;
  Entry entry(Cause::kFact);
  if (!entry) return;
  Recorder& recorder = entry.recorder();
  DeviceCall call;
  call.address = reinterpret_cast<uint64_t>(pointer);
  call.library = recorder.libraries().Find(caller, recorder.facts()).id;
  call.api = recorder.facts().String(api);
  call.device = CurrentDevice();
  RecordDeviceFree(entry.thread(), ticks, call);
}

void RecordMemoryAnswer(uint64_t free, uint64_t total) {
  if (runtime_depth > 0) return;
  Entry entry(Cause::kFact);
  if (entry) RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
}

void RecordMemoryNow() {
  Entry entry(Cause::kFact);
  uint64_t free, total;
  if (entry && QueryMemory(&free, &total)) RecordMemoryInfo(entry.thread(), CurrentDevice(), free, total);
}

void RecordCopyFromHost(const void* destination, size_t bytes) {
  if (bytes < kSmallestCopy || runtime_depth > 0) return;
  Entry entry(Cause::kFact);
  if (entry) RecordHostCopy(entry.thread(), reinterpret_cast<uint64_t>(destination), bytes, CurrentDevice());
}

}  // namespace oomtrace
