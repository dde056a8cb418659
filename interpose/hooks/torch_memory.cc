// PyTorch's caching allocator tells its profiler of every block that it hands out and takes back, under the lock of the
// device's allocator: nothing here may take the GIL, call into CUDA or block.
#include "interpose/hooks/attribution.h"
#include "interpose/hooks/collector.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/refusals.h"
#include "interpose/hooks/scopes.h"
#include "interpose/hooks/torch_types.h"
#include "interpose/python/python_part.h"

using namespace oomtrace;

namespace {

uint32_t Index(Device device) { return device.index < 0 ? 0 : static_cast<uint32_t>(device.index); }

// Out of line, so that the hook can end in a jump to the real function.
[[gnu::noinline, gnu::hot]] void RecordBlock(void* block, int64_t bytes, size_t reserved, uint32_t device,
                                             const void* caller, const void* frame) {
  // What is freed was allocated before: in a forked child that only inherits tensors nothing begins.
  Entry entry(bytes > 0 ? Cause::kMemory : Cause::kFact);
  if (!entry) return;
  const auto address = reinterpret_cast<uint64_t>(block);
  if (bytes > 0) {
    const auto size = static_cast<uint64_t>(bytes);
    RecordTensorAlloc(entry.thread(), address, size, device, reserved,
                      AttributeBlock(entry.thread(), size, device, {caller, frame}));
  } else {
    RecordTensorFree(entry.thread(), address, device, reserved);
  }
}

void RecordReport(int64_t bytes, size_t allocated, size_t reserved, uint32_t device, const HookFrame& hook) {
  Entry entry(Cause::kMemory);
  if (!entry) return;
  Refusal refusal;
  refusal.source = wire::OutOfMemorySource::kTorchReport;
  refusal.bytes = static_cast<uint64_t>(bytes);
  refusal.device = device;
  refusal.allocated = allocated;
  refusal.reserved = reserved;
  QueryMemory(&refusal.device_free, &refusal.device_total);
  RecordRefusal(entry, refusal, AttributeAllocation(entry.thread(), hook));
}

}  // namespace

OOMTRACE_HOT_EXPORT void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void* block, int64_t bytes,
                                                                               size_t allocated, size_t reserved,
                                                                               Device device) {
  const void* caller = __builtin_return_address(0);
  if (device.type == kCuda && bytes != 0)
    RecordBlock(block, bytes, reserved, Index(device), caller, __builtin_frame_address(0));
  using Report = void(void*, int64_t, size_t, size_t, Device);
  if (auto* real = Real<Report>(HookId::kReportMemoryUsage, caller)) real(block, bytes, allocated, reserved, device);
}

OOMTRACE_EXPORT void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t bytes, size_t allocated,
                                                                         size_t reserved, Device device) {
  const HookFrame hook = OOMTRACE_HOOK_FRAME();
  if (device.type == kCuda) {
    RecordReport(bytes, allocated, reserved, Index(device), hook);
    ForgetFactory();
    NudgeCollector();
    RequestPythonPart(PythonTask::kOutOfMemory);
  }
  using Report = void(int64_t, size_t, size_t, Device);
  if (auto* real = Real<Report>(HookId::kReportOutOfMemory, hook.caller)) real(bytes, allocated, reserved, device);
}
