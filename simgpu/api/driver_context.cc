// CUDA driver: initialization, devices, contexts.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"
#include "simgpu/kernels.h"

using namespace oomtrace::simgpu;

// Whoever loads libcuda.so.1 can tell the simulated driver from a real one by this symbol.
SIMGPU_API const int oomtrace_simulated_gpu = 1;

namespace {

constexpr uintptr_t kFirstContext = 0x51e0;

CUresult CheckDevice(CUdevice device) {
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Driver(refusal);
  return Machine::Get().valid(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

// The context stack of a thread below its current context (cuCtxPushCurrent, cuCtxCreate).
struct Stack {
  struct Entry {
    int device;
    uint64_t own_context;
  };
  Entry entries[32];
  int depth = 0;
};
thread_local Stack stack;

bool Push() {
  if (stack.depth == 32) return false;
  stack.entries[stack.depth++] = {Machine::chosen_device(), Machine::own_context()};
  return true;
}

// Contexts that cuCtxCreate made: handle -> device. Those of the devices themselves are not among them.
class OwnContexts {
 public:
  static OwnContexts& Get() {
    static auto* contexts = new OwnContexts;
    return *contexts;
  }
  void Add(uint64_t context, int device) {
    std::lock_guard lock(mutex_);
    devices_[context] = device;
  }
  bool Remove(uint64_t context) {
    std::lock_guard lock(mutex_);
    return devices_.erase(context) != 0;
  }
  int DeviceOf(uint64_t context) const {
    std::lock_guard lock(mutex_);
    const auto found = devices_.find(context);
    return found == devices_.end() ? -1 : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, int> devices_;
};

// To what was current before, of what is still there.
void Pop() {
  Stack::Entry below = {-1, 0};
  while (stack.depth > 0) {
    below = stack.entries[--stack.depth];
    if (below.own_context == 0 || OwnContexts::Get().DeviceOf(below.own_context) >= 0) break;
    below = {-1, 0};
  }
  Machine::choose_device(below.device, below.own_context);
}

CUcontext CurrentContext() {
  const uint64_t own = Machine::own_context();
  return own != 0 ? reinterpret_cast<CUcontext>(own) : ContextOf(Machine::current_device());
}

uint64_t OwnNumber(CUcontext context) {
  const uint64_t number = reinterpret_cast<uintptr_t>(context);
  return OwnContexts::Get().DeviceOf(number) >= 0 ? number : 0;
}

}  // namespace

namespace oomtrace::simgpu {

CUcontext ContextOf(int device) { return reinterpret_cast<CUcontext>(kFirstContext + static_cast<uintptr_t>(device)); }

int DeviceOf(CUcontext context) {
  const uintptr_t number = reinterpret_cast<uintptr_t>(context) - kFirstContext;
  if (number < static_cast<uintptr_t>(Machine::Get().device_count())) return static_cast<int>(number);
  return OwnContexts::Get().DeviceOf(reinterpret_cast<uintptr_t>(context));
}

}  // namespace oomtrace::simgpu

SIMGPU_API CUresult cuInit(unsigned int) { return Driver(Machine::Get().CheckUsable()); }

// Nothing is ever logged, so the callback is never called.
SIMGPU_API CUresult cuLogsRegisterCallback(CUlogsCallback, void*, CUlogsCallbackHandle* callback) {
  if (callback != nullptr) *callback = nullptr;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle) { return CUDA_SUCCESS; }

SIMGPU_API CUresult cuDriverGetVersion(int* version) { return Driver(cudaDriverGetVersion(version)); }

SIMGPU_API CUresult cuDeviceGetCount(int* count) {
  *count = Machine::Get().device_count();
  return Driver(Machine::Get().CheckUsable());
}

SIMGPU_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CheckDevice(ordinal);
}

SIMGPU_API CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  std::snprintf(name, static_cast<size_t>(length), "%s", Machine::Get().settings().gpu->marketing_name);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  unsigned char bytes[16];
  Machine::Uuid(Machine::Get().MachineNumber(device), bytes);
  std::memcpy(uuid->bytes, bytes, sizeof bytes);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  *bytes = static_cast<size_t>(Machine::Get().device(device).total());
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return Driver(DeviceAttribute(value, attribute, device));
}

SIMGPU_API CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  *major = Machine::Get().settings().gpu->capability_major;
  *minor = Machine::Get().settings().gpu->capability_minor;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  return Driver(cudaDeviceGetPCIBusId(id, length, device));
}

SIMGPU_API CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* id) {
  return Driver(cudaDeviceGetByPCIBusId(device, id));
}

SIMGPU_API CUresult cuDeviceCanAccessPeer(int* possible, CUdevice device, CUdevice peer) {
  return Driver(cudaDeviceCanAccessPeer(possible, device, peer));
}

SIMGPU_API CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute, CUdevice device, CUdevice peer) {
  *value = 0;
  if (const CUresult result = CheckDevice(device)) return result;
  return CheckDevice(peer);
}

SIMGPU_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  if (const CUresult result = CheckDevice(device)) return result;
  if (flags != nullptr) *flags = 0;
  *active = Machine::Get().device(device).has_context() ? 1 : 0;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = nullptr;
  if (const Refusal refusal = Machine::Get().RequireContext(device); refusal != Refusal::kNone) return Driver(refusal);
  *context = ContextOf(device);
  Machine::Get().device(device).HoldContext();
  return CUDA_SUCCESS;
}

// The runtime has its own hold on the primary context. It is there where the program has kernels that it registered.
SIMGPU_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  DeviceMemory& memory = Machine::Get().device(device);
  if (memory.ReleaseContext() && !Kernels::Get().HasFatBinaries()) memory.DropContext();
  return CUDA_SUCCESS;
}
SIMGPU_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int) { return CheckDevice(device); }

SIMGPU_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  if (const CUresult result = CheckDevice(device)) return result;
  Machine::Get().device(device).DropContext();
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams*, unsigned int, CUdevice device) {
  *context = nullptr;
  if (const CUresult result = CheckDevice(device)) return result;
  const uint64_t own = Machine::Get().NewHandle();
  if (!Machine::Get().device(device).BookOwnContext(own)) return CUDA_ERROR_OUT_OF_MEMORY;
  Machine::Get().NoteContext(device);
  OwnContexts::Get().Add(own, device);
  Push();
  Machine::choose_device(device, own);
  *context = reinterpret_cast<CUcontext>(own);
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxCreate_v3(CUcontext* context, CUexecAffinityParam*, int, unsigned int flags, CUdevice device) {
  return cuCtxCreate_v4(context, nullptr, flags, device);
}

SIMGPU_API CUresult cuCtxCreate_v2(CUcontext* context, unsigned int flags, CUdevice device) {
  return cuCtxCreate_v4(context, nullptr, flags, device);
}

SIMGPU_API CUresult cuCtxDestroy_v2(CUcontext context) {
  const uint64_t own = OwnNumber(context);
  if (own == 0) return CUDA_ERROR_INVALID_CONTEXT;  // the devices' own ones are released, not destroyed
  Machine::Get().device(OwnContexts::Get().DeviceOf(own)).DropOwnContext(own);
  OwnContexts::Get().Remove(own);
  if (Machine::own_context() == own) Pop();
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = nullptr;
  if (const Refusal refusal = Machine::Get().CheckUsable(); refusal != Refusal::kNone) return Driver(refusal);
  const int device = Machine::chosen_device();
  if (device >= 0) {
    *context = CurrentContext();
  } else if (Machine::Get().device(0).has_context()) {
    // The runtime made device 0 current when this process first used it.
    *context = ContextOf(0);
  }
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxSetCurrent(CUcontext context) {
  if (context == nullptr) {
    Machine::choose_device(-1);
    return CUDA_SUCCESS;
  }
  const int device = DeviceOf(context);
  if (device < 0) return CUDA_ERROR_INVALID_CONTEXT;
  Machine::choose_device(device, OwnNumber(context));
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxPushCurrent_v2(CUcontext context) {
  const int device = DeviceOf(context);
  if (device < 0 || !Push()) return CUDA_ERROR_INVALID_CONTEXT;
  Machine::choose_device(device, OwnNumber(context));
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (stack.depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (context != nullptr) *context = CurrentContext();
  Pop();
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxGetDevice(CUdevice* device) {
  *device = Machine::current_device();
  return Driver(Machine::Get().CheckUsable());
}

SIMGPU_API CUresult cuCtxGetApiVersion(CUcontext, unsigned int* version) {
  *version = 3020;  // the one ABI revision of contexts since CUDA 3.2
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxGetFlags(unsigned int* flags) {
  *flags = 0;
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxGetLimit(size_t* value, CUlimit) {
  *value = 1 << 20;  // the default printf buffer, the one limit that Triton asks for
  return CUDA_SUCCESS;
}

SIMGPU_API CUresult cuCtxSetLimit(CUlimit, size_t) { return CUDA_SUCCESS; }
SIMGPU_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  auto exchanged = static_cast<cudaStreamCaptureMode>(*mode);
  const cudaError_t error = cudaThreadExchangeStreamCaptureMode(&exchanged);
  *mode = static_cast<CUstreamCaptureMode>(exchanged);
  return Driver(error);
}

SIMGPU_API CUresult cuCtxSynchronize() { return Driver(cudaDeviceSynchronize()); }

SIMGPU_API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return Driver(cudaDeviceGetStreamPriorityRange(least, greatest));
}

SIMGPU_API CUresult cuCtxEnablePeerAccess(CUcontext context, unsigned int) {
  return DeviceOf(context) < 0 ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}
