// CUDA runtime: streams, events, capture into graphs.
#include <utility>

#include "simgpu/activity.h"
#include "simgpu/api/graphs.h"
#include "simgpu/api/pools.h"
#include "simgpu/api/runtime.h"
#include "simgpu/streams.h"

using namespace oomtrace::simgpu;

namespace {

uintptr_t Number(const void* handle) { return reinterpret_cast<uintptr_t>(handle); }

template <typename Handle>
Handle Opaque() {
  return reinterpret_cast<Handle>(Machine::Get().NewHandle());
}

cudaError_t CheckHandle(bool known) { return Return(known ? cudaSuccess : cudaErrorInvalidResourceHandle); }

}  // namespace

SIMGPU_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int, int priority) {
  SIMGPU_REQUIRE_CONTEXT();
  *stream = reinterpret_cast<cudaStream_t>(Streams::Get().CreateStream(priority));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}

SIMGPU_API cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
SIMGPU_API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return CheckHandle(Streams::Get().DestroyStream(Number(stream)));
}

SIMGPU_API cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  *priority = Streams::Get().Priority(Number(stream));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamGetFlags(cudaStream_t, unsigned int* flags) {
  *flags = cudaStreamNonBlocking;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamGetDevice(cudaStream_t, int* device) {
  *device = Machine::current_device();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamSynchronize(cudaStream_t) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaStreamSynchronize_v3020, "cudaStreamSynchronize");
  WaitForActivity();
  SettlePools();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamQuery(cudaStream_t) {
  SIMGPU_REQUIRE_CONTEXT();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  return CheckHandle(Streams::Get().Wait(Number(stream), Number(event)));
}

// The stream is idle, so a callback's turn is now.
SIMGPU_API cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void* data) {
  function(data);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                             unsigned int) {
  callback(stream, cudaSuccess, data);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamAttachMemAsync(cudaStream_t, void*, size_t, unsigned int) {
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  SIMGPU_REQUIRE_CONTEXT();
  *event = reinterpret_cast<cudaEvent_t>(Streams::Get().CreateEvent());
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
SIMGPU_API cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return CheckHandle(Streams::Get().DestroyEvent(Number(event)));
}

SIMGPU_API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return CheckHandle(Streams::Get().Record(Number(event), Number(stream)));
}

SIMGPU_API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int) {
  return cudaEventRecord(event, stream);
}

SIMGPU_API cudaError_t cudaEventQuery(cudaEvent_t) { return Return(cudaSuccess); }

SIMGPU_API cudaError_t cudaEventSynchronize(cudaEvent_t) {
  SIMGPU_REQUIRE_CONTEXT();
  WaitForActivity();
  SettlePools();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return CheckHandle(Streams::Get().Elapsed(Number(start), Number(end), milliseconds));
}

SIMGPU_API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr) return Return(cudaErrorStreamCaptureUnsupported);
  return Return(Streams::Get().BeginCapture(Number(stream)) == 0 ? cudaErrorIllegalState : cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const uint64_t capture = Streams::Get().CaptureOf(Number(stream));
  if (!Streams::Get().EndCapture(Number(stream))) return Return(cudaErrorIllegalState);
  *graph = Opaque<cudaGraph_t>();
  Graphs().AddGraph(Number(*graph));
  // What was captured is not kept; one opaque node stands for it, so that nobody takes the graph for an empty one.
  Graphs().AddOther(Number(*graph), Number(*graph));
  KeepCapture(capture, Number(*graph));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = Streams::Get().CaptureOf(Number(stream)) != 0 ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                                unsigned long long* id, cudaGraph_t* graph,
                                                const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges,
                                                size_t* dependency_count) {
  const uint64_t capture = Streams::Get().CaptureOf(Number(stream));
  *status = capture != 0 ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  if (id != nullptr) *id = capture;
  if (graph != nullptr) *graph = reinterpret_cast<cudaGraph_t>(capture);
  if (dependencies != nullptr) *dependencies = nullptr;
  if (edges != nullptr) *edges = nullptr;
  if (dependency_count != nullptr) *dependency_count = 0;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t, cudaGraphNode_t*, const cudaGraphEdgeData*,
                                                           size_t, unsigned int) {
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  thread_local cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
  std::swap(current, *mode);
  return Return(cudaSuccess);
}
