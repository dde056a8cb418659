// Graphs, of the runtime and of the driver: made by hand or captured, instantiated, launched. Of what is in them only
// memory nodes do anything.
#include "simgpu/api/graphs.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "simgpu/activity.h"
#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

uintptr_t Number(const void* handle) { return reinterpret_cast<uintptr_t>(handle); }

cudaError_t Answer(GraphMemory::Result result) {
  switch (result) {
    case GraphMemory::Result::kOk:
      return Return(cudaSuccess);
    case GraphMemory::Result::kOutOfMemory:
      return Return(cudaErrorMemoryAllocation);
    default:
      return Return(cudaErrorInvalidValue);
  }
}

// The driver's handles are the runtime's, under other names.
template <typename To, typename From>
To As(From handle) {
  return reinterpret_cast<To>(handle);
}

}  // namespace

namespace oomtrace::simgpu {

GraphMemory& Graphs() {
  static auto* graphs = new GraphMemory([](int device) -> DeviceMemory& { return Machine::Get().device(device); });
  return *graphs;
}

}  // namespace oomtrace::simgpu

SIMGPU_API cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned int flags) {
  if (graph == nullptr || flags != 0) return Return(cudaErrorInvalidValue);
  *graph = As<cudaGraph_t>(Machine::Get().NewHandle());
  Graphs().AddGraph(Number(*graph));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t*, size_t) {
  *node = As<cudaGraphNode_t>(Machine::Get().NewHandle());
  return Answer(Graphs().AddOther(Number(graph), Number(*node)));
}

SIMGPU_API cudaError_t cudaGraphAddMemAllocNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t*,
                                                size_t, cudaMemAllocNodeParams* parameters) {
  SIMGPU_REQUIRE_CONTEXT();
  const int device = parameters->poolProps.location.id;
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidValue);
  *node = As<cudaGraphNode_t>(Machine::Get().NewHandle());
  uintptr_t address = 0;
  const auto result = Graphs().AddAllocation(Number(graph), Number(*node), parameters->bytesize, device, &address);
  parameters->dptr = Pointer(address);
  return Answer(result);
}

SIMGPU_API cudaError_t cudaGraphAddMemFreeNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t*, size_t,
                                               void* address) {
  *node = As<cudaGraphNode_t>(Machine::Get().NewHandle());
  return Answer(Graphs().AddFree(Number(graph), Number(*node), Number(address)));
}

SIMGPU_API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                                     unsigned long long flags) {
  const uintptr_t handle = Machine::Get().NewHandle();
  const bool free_on_launch = (flags & cudaGraphInstantiateFlagAutoFreeOnLaunch) != 0;
  const auto result = Graphs().Instantiate(Number(graph), handle, free_on_launch);
  *executable = result == GraphMemory::Result::kOk ? As<cudaGraphExec_t>(handle) : nullptr;
  if (result == GraphMemory::Result::kOk) KeepGraph(Number(graph), handle);
  return Answer(result);
}

SIMGPU_API cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiateWithFlags(executable, graph, flags);
}

SIMGPU_API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  const std::vector<uintptr_t> handles = Graphs().Nodes(Number(graph));
  const size_t room = nodes != nullptr ? *count : 0;
  for (size_t i = 0; i < std::min(room, handles.size()); ++i) nodes[i] = As<cudaGraphNode_t>(handles[i]);
  *count = handles.size();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  SIMGPU_REQUIRE_CONTEXT();
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaGraphLaunch_v10000, "cudaGraphLaunch");
  const auto result = Graphs().Launch(Number(executable));
  if (result == GraphMemory::Result::kOk) RunGraph(Number(executable), Number(stream));
  return Answer(result);
}

SIMGPU_API cudaError_t cudaGraphLaunch_ptsz(cudaGraphExec_t executable, cudaStream_t stream) {
  return cudaGraphLaunch(executable, stream);
}

SIMGPU_API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  ForgetGraph(Number(graph));
  Graphs().Forget(Number(graph));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  ForgetGraph(Number(executable));
  Graphs().Forget(Number(executable));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return Return(cudaSuccess); }

SIMGPU_API cudaError_t cudaDeviceGraphMemTrim(int device) {
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  Graphs().Trim(device);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceGetGraphMemAttribute(int device, cudaGraphMemAttributeType attribute, void* value) {
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  const GraphMemory::Use use = Graphs().UseOf(device);
  const uint64_t values[] = {use.used, use.used_high, use.reserved, use.reserved_high};
  if (attribute < 0 || attribute >= static_cast<int>(std::size(values))) return Return(cudaErrorInvalidValue);
  *static_cast<uint64_t*>(value) = values[attribute];
  return Return(cudaSuccess);
}

// Only the two highest values can be set, and only to what is.
SIMGPU_API cudaError_t cudaDeviceSetGraphMemAttribute(int device, cudaGraphMemAttributeType attribute, void*) {
  const bool high = attribute == cudaGraphMemAttrUsedMemHigh || attribute == cudaGraphMemAttrReservedMemHigh;
  if (!high || !Machine::Get().valid(device)) return Return(cudaErrorInvalidValue);
  Graphs().ResetHigh(device);
  return Return(cudaSuccess);
}

SIMGPU_API CUresult cuGraphCreate(CUgraph* graph, unsigned int flags) {
  return Driver(cudaGraphCreate(As<cudaGraph_t*>(graph), flags));
}

SIMGPU_API CUresult cuGraphAddEmptyNode(CUgraphNode* node, CUgraph graph, const CUgraphNode*, size_t) {
  return Driver(cudaGraphAddEmptyNode(As<cudaGraphNode_t*>(node), As<cudaGraph_t>(graph), nullptr, 0));
}

SIMGPU_API CUresult cuGraphAddMemAllocNode(CUgraphNode* node, CUgraph graph, const CUgraphNode*, size_t,
                                           CUDA_MEM_ALLOC_NODE_PARAMS* parameters) {
  cudaMemAllocNodeParams same = {};
  same.bytesize = parameters->bytesize;
  same.poolProps.location.id = parameters->poolProps.location.id;
  const cudaError_t error =
      cudaGraphAddMemAllocNode(As<cudaGraphNode_t*>(node), As<cudaGraph_t>(graph), nullptr, 0, &same);
  parameters->dptr = As<CUdeviceptr>(same.dptr);
  return Driver(error);
}

SIMGPU_API CUresult cuGraphAddMemFreeNode(CUgraphNode* node, CUgraph graph, const CUgraphNode*, size_t,
                                          CUdeviceptr address) {
  return Driver(
      cudaGraphAddMemFreeNode(As<cudaGraphNode_t*>(node), As<cudaGraph_t>(graph), nullptr, 0, Pointer(address)));
}

SIMGPU_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long flags) {
  return Driver(cudaGraphInstantiateWithFlags(As<cudaGraphExec_t*>(executable), As<cudaGraph_t>(graph), flags));
}

SIMGPU_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
  return Driver(cudaGraphGetNodes(As<cudaGraph_t>(graph), As<cudaGraphNode_t*>(nodes), count));
}

SIMGPU_API CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return Driver(cudaGraphLaunch(As<cudaGraphExec_t>(executable), As<cudaStream_t>(stream)));
}
SIMGPU_API CUresult cuGraphLaunch_ptsz(CUgraphExec executable, CUstream stream) {
  return cuGraphLaunch(executable, stream);
}
SIMGPU_API CUresult cuGraphUpload(CUgraphExec, CUstream) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuGraphDestroy(CUgraph graph) { return Driver(cudaGraphDestroy(As<cudaGraph_t>(graph))); }
SIMGPU_API CUresult cuGraphExecDestroy(CUgraphExec executable) {
  return Driver(cudaGraphExecDestroy(As<cudaGraphExec_t>(executable)));
}

// The two enumerations of attributes share their numbers.
SIMGPU_API CUresult cuDeviceGraphMemTrim(CUdevice device) { return Driver(cudaDeviceGraphMemTrim(device)); }
SIMGPU_API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void* value) {
  return Driver(cudaDeviceGetGraphMemAttribute(device, static_cast<cudaGraphMemAttributeType>(attribute), value));
}
SIMGPU_API CUresult cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void* value) {
  return Driver(cudaDeviceSetGraphMemAttribute(device, static_cast<cudaGraphMemAttributeType>(attribute), value));
}
