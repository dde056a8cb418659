// PyTorch with an allocator of the user's (torch.cuda.memory.CUDAPluggableAllocator): what it hands out are tensors,
// one each, wherever it has the memory from. It reports nothing to PyTorch's profiler, so its own functions are hooked.
//
// The caching allocator, too, may ask such an allocator, for the segments of a MemPool: these are no tensors, and what
// it makes of them it reports itself. They come through raw_alloc and go through raw_delete, called from its library.
//
// Such an allocator refuses by a null pointer or by a C++ exception, which passes these hooks without a landing pad. A
// request that was not answered is seen to be over by the next hook on its thread, or at exit.
#include "interpose/hooks/torch_pluggable.h"

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/refusals.h"
#include "interpose/hooks/torch_types.h"
#include "interpose/python/python_part.h"

using namespace oomtrace;

namespace {

// Says that the allocator does not tell what it holds (TensorAlloc.reserved in proto/trace.proto).
constexpr uint64_t kReservedNotKnown = 0;

bool IsCachingAllocator(const Entry& entry, const void* caller) {
  return entry.recorder().libraries().Find(caller, entry.recorder().facts()).caching_allocator;
}

// raw_alloc calls malloc once.
bool TakeSegmentAsked() {
  Entry entry(Cause::kMemory);
  if (!entry) return false;
  const bool asked = entry.thread().segment_asked;
  entry.thread().segment_asked = false;
  return asked;
}

void RecordTensor(void* block, size_t bytes, int8_t device, const HookFrame& hook) {
  Entry entry(Cause::kMemory);
  if (!entry) return;
  const uint32_t index = device < 0 ? 0 : static_cast<uint32_t>(device);
  RecordTensorAlloc(entry.thread(), reinterpret_cast<uint64_t>(block), bytes, index, kReservedNotKnown,
                    AttributeBlock(entry.thread(), bytes, index, hook));
}

void BeginRequest(const void* frame, size_t bytes, int8_t device) {
  Entry entry(Cause::kMemory);
  if (!entry) return;
  ThreadState& thread = entry.thread();
  const Attribution who = AttributeAllocation(thread);
  thread.refused_at = 0;
  thread.request = {frame, bytes, device < 0 ? 0 : static_cast<uint32_t>(device), who.stack, who.layout, who.context};
}

bool Waits() { return thread_state != nullptr && thread_state->request.frame != nullptr; }

// Where the device was asked meanwhile and refused, that has been recorded.
void RecordOwnRefusal() {
  {
    Entry entry(Cause::kMemory);
    if (!entry) return;
    const PluggableRequest request = entry.thread().request;
    entry.thread().request.frame = nullptr;
    if (entry.thread().refused_at != 0) return;
    Refusal refusal;
    refusal.source = wire::OutOfMemorySource::kException;
    refusal.bytes = request.bytes;
    refusal.device = request.device;
    QueryMemory(&refusal.device_free, &refusal.device_total);
    RecordRefusal(entry, refusal, {request.stack, request.layout, request.context, 0});
  }
  RequestPythonPart(PythonTask::kOutOfMemory);
}

void EndRequest(const void* block) {
  if (!Waits()) return;
  if (block == nullptr) {
    RecordOwnRefusal();
  } else {
    thread_state->request.frame = nullptr;
  }
}

// The frame of a request that waits lies below those of its callers: stacks grow down.
void RecordIfAbandoned(const void* here) {
  if (Waits() && reinterpret_cast<uintptr_t>(here) > reinterpret_cast<uintptr_t>(thread_state->request.frame))
    RecordOwnRefusal();
}

}  // namespace

void oomtrace::RecordAbandonedRequest() {
  if (Waits()) RecordOwnRefusal();
}

OOMTRACE_EXPORT void* _ZN5torch4cuda22CUDAPluggableAllocator22CUDAPluggableAllocator6mallocEmaP11CUstream_st(
    void* self, size_t bytes, int8_t device, void* stream) {
  const HookFrame hook = OOMTRACE_HOOK_FRAME();
  ResolveTorch();
  const bool segment = TakeSegmentAsked();
  const bool asked = bytes != 0 && !segment;
  RecordAbandonedRequest();  // nothing calls this from inside itself
  if (asked) BeginRequest(__builtin_frame_address(0), bytes, device);
  using Malloc = void*(void*, size_t, int8_t, void*);
  void* block = Real<Malloc>(HookId::kPluggableMalloc, hook.caller)(self, bytes, device, stream);
  if (asked) EndRequest(block);
  if (block != nullptr && asked) RecordTensor(block, bytes, device, hook);
  return block;
}

OOMTRACE_EXPORT void* _ZN5torch4cuda22CUDAPluggableAllocator22CUDAPluggableAllocator9raw_allocEm(void* self,
                                                                                                 size_t bytes) {
  const void* caller = __builtin_return_address(0);
  {
    Entry entry(Cause::kMemory);
    if (entry) entry.thread().segment_asked = IsCachingAllocator(entry, caller);
  }
  using RawAlloc = void*(void*, size_t);
  return Real<RawAlloc>(HookId::kPluggableRawAlloc, caller)(self, bytes);
}

// The tensor is gone before its memory is: another thread may be given the address as soon as it is free.
OOMTRACE_EXPORT void _ZN5torch4cuda22CUDAPluggableAllocator22CUDAPluggableAllocator10raw_deleteEPv(void* self,
                                                                                                   void* block) {
  const void* caller = __builtin_return_address(0);
  RecordIfAbandoned(__builtin_frame_address(0));
  if (block != nullptr) {
    Entry entry(Cause::kFact);
    if (entry && !IsCachingAllocator(entry, caller)) {
      const auto address = reinterpret_cast<uint64_t>(block);
      RecordTensorFree(entry.thread(), address, CurrentDevice(), kReservedNotKnown);
    }
  }
  using RawDelete = void(void*, void*);
  Real<RawDelete>(HookId::kPluggableRawDelete, caller)(self, block);
}
