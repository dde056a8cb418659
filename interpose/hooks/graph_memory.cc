#include "interpose/hooks/graph_memory.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>

#include "interpose/hooks/cuda_query.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace oomtrace {
namespace {

constexpr uint32_t kMostDevices = 16;
// Where no device memory and no handle of the driver lies.
constexpr uint64_t kFirstHandle = uint64_t{1} << 62;

std::atomic<bool> has_nodes{false};
std::atomic<uint64_t> recorded[kMostDevices];

// The runtime's and the driver's functions agree on their parameters and on the attribute's number.
using GetAttribute = int(int device, int attribute, void* value);
static_assert(static_cast<int>(cudaGraphMemAttrReservedMemCurrent) ==
              static_cast<int>(CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT));

// Whether this is the outermost call, of a process whose graphs allocate.
bool Watched() { return has_nodes.load(std::memory_order_relaxed) && !InsideCuda::Now(); }

bool ReservedByGraphs(uint32_t device, uint64_t* bytes) {
  static std::atomic<void*> found{nullptr};
  void* get = found.load(std::memory_order_acquire);
  if (get == nullptr) get = FindIn(HookLibrary::kCudart, "cudaDeviceGetGraphMemAttribute");
  if (get == nullptr) get = FindIn(HookLibrary::kCuda, "cuDeviceGetGraphMemAttribute");
  if (get == nullptr) return false;
  found.store(get, std::memory_order_release);
  const InsideCuda inside;
  return reinterpret_cast<GetAttribute*>(get)(static_cast<int>(device), cudaGraphMemAttrReservedMemCurrent, bytes) == 0;
}

}  // namespace

void NoteGraphMemoryNode() { has_nodes.store(true, std::memory_order_relaxed); }

void RecordGraphMemory(const HookSite& site) {
  if (!Watched()) return;
  const uint32_t device = CurrentDevice();
  uint64_t now = 0;
  if (device >= kMostDevices || !ReservedByGraphs(device, &now)) return;
  const uint64_t before = recorded[device].exchange(now, std::memory_order_relaxed);
  if (now == before) return;
  const int number = static_cast<int>(device);
  const uint64_t handle = kFirstHandle + device;
  if (before > 0)
    RecordDeviceRelease(site, {.kind = MemoryKind::kPhysical, .block = handle, .device = number}, Ticks());
  if (now > 0) {
    RecordDeviceAllocation(site, {.kind = MemoryKind::kPhysical, .block = handle, .bytes = now, .device = number}, 0);
  }
}

}  // namespace oomtrace

namespace {

template <typename Result, typename... Arguments>
Result Launch(const HookSite& site, Arguments... arguments) {
  const Result result = CallReal<Result>(site, arguments...);
  RecordGraphMemory(site);
  // How much was missing, the driver does not say.
  if (static_cast<int>(result) == CUDA_ERROR_OUT_OF_MEMORY && !InsideCuda::Now())
    RecordDeviceAllocation(site, {.kind = MemoryKind::kPhysical}, CUDA_ERROR_OUT_OF_MEMORY);
  return result;
}

}  // namespace

OOMTRACE_EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return Launch<cudaError_t>(OOMTRACE_SITE(kGraphLaunch), executable, stream);
}

OOMTRACE_EXPORT cudaError_t cudaGraphLaunch_ptsz(cudaGraphExec_t executable, cudaStream_t stream) {
  return Launch<cudaError_t>(OOMTRACE_SITE(kGraphLaunchPtsz), executable, stream);
}

OOMTRACE_EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return Launch<CUresult>(OOMTRACE_SITE(kCuGraphLaunch), executable, stream);
}

OOMTRACE_EXPORT CUresult cuGraphLaunch_ptsz(CUgraphExec executable, CUstream stream) {
  return Launch<CUresult>(OOMTRACE_SITE(kCuGraphLaunchPtsz), executable, stream);
}
