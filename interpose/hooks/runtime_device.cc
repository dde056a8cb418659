// The current device, the runtime's end, and copies from the host.
#include <cuda_runtime_api.h>

#include "interpose/hooks/collector.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/launches.h"
#include "interpose/python/python_part.h"

using namespace oomtrace;
using wire::MemoryKind;

// The first thing that PyTorch asks: an early moment, with no lock held, to prepare for what follows.
OOMTRACE_EXPORT cudaError_t cudaGetDeviceCount(int* count) {
  const cudaError_t result = CallReal<cudaError_t>(OOMTRACE_SITE(kGetDeviceCount), count);
  if (result == cudaSuccess && *count > 0) DevicesFound();
  if (result == cudaSuccess) RequestPythonPart(PythonTask::kInstall);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaSetDevice(int device) {
  const cudaError_t result = CallRefusable<cudaError_t>(OOMTRACE_SITE(kSetDevice), device, device);
  if (result == cudaSuccess) DevicesFound();
  if (result == cudaSuccess) RequestPythonPart(PythonTask::kInstall);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaDeviceReset() {
  const int device = static_cast<int>(CurrentDevice());  // there is none afterwards
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kDeviceReset), {.kind = MemoryKind::kContext, .device = device});
}

OOMTRACE_EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const LaunchScope scope(to, from);
  const cudaError_t result = CallRefusable<cudaError_t>(OOMTRACE_SITE(kMemcpy), kCurrentDevice, to, from, bytes, kind);
  if (kind == cudaMemcpyHostToDevice && result == cudaSuccess) RecordCopyFromHost(to, bytes);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                            cudaStream_t stream) {
  const LaunchScope scope(to, from);
  const cudaError_t result =
      CallRefusable<cudaError_t>(OOMTRACE_SITE(kMemcpyAsync), kCurrentDevice, to, from, bytes, kind, stream);
  if (kind == cudaMemcpyHostToDevice && result == cudaSuccess) RecordCopyFromHost(to, bytes);
  return result;
}
