// What the application enqueues, told to a profiler: the records that CUPTI would make of it.
//
// Kernels do nothing here, so their times are made up: work of one stream runs in order, a kernel begins some time
// after its launch and lasts longer the more blocks it has, a copy as long as its bytes take. They say in which order
// work ran, not how long it takes on a card. A synchronization waits for the end that was told. Nothing happens, at the
// price of one load, while no profiler looks. Thread-safe.
#pragma once

#include <cupti.h>

#include <cstddef>
#include <cstdint>

#include "simgpu/cupti_session.h"

namespace oomtrace::simgpu {

inline constexpr uint32_t kRuntimeApi = CUPTI_ACTIVITY_KIND_RUNTIME;
inline constexpr uint32_t kDriverApi = CUPTI_ACTIVITY_KIND_DRIVER;

// A call of the runtime or of the driver: what it enqueues carries its correlation id. Calls that the simulation makes
// of its own functions inside belong to the outermost one.
class ApiCall {
 public:
  ApiCall(uint32_t kind, uint32_t cbid, const char* name) : kind_(kind), cbid_(cbid), name_(name) {
    if (CuptiSession::Watched()) Enter();
  }
  ~ApiCall() {
    if (entered_) Leave();
  }
  ApiCall(const ApiCall&) = delete;
  ApiCall& operator=(const ApiCall&) = delete;

 private:
  void Enter();
  void Leave();

  uint32_t kind_;
  uint32_t cbid_;
  const char* name_;
  bool entered_ = false;
  uint64_t start_ = 0;
};

struct KernelRun {
  const char* name;  // mangled, static storage
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t shared_bytes = 0;
};
// While `stream` is captured the kernel becomes part of the graph and runs when that is launched.
void RunKernel(const KernelRun& kernel, uintptr_t stream);
// `asynchronous`: the call returned before the copy was done.
void RunCopy(const void* to, const void* from, size_t bytes, uintptr_t stream, bool asynchronous);
void RunFill(const void* to, int value, size_t bytes, uintptr_t stream);

// The kernels of a capture belong to a graph, those of a graph to what is made of it.
void KeepCapture(uint64_t capture, uintptr_t graph);
void KeepGraph(uintptr_t graph, uintptr_t executable);
// A graph, or what was made of it, is gone.
void ForgetGraph(uintptr_t handle);
void RunGraph(uintptr_t executable, uintptr_t stream);

// Memory records. `kind` is CUpti_ActivityMemoryKind; `pool_*` only for stream-ordered allocations.
struct MemoryChange {
  bool allocation;
  uint32_t kind;
  uint64_t address;
  uint64_t bytes;
  int device;
  bool asynchronous = false;
  uint64_t pool = 0;
  uint64_t pool_reserved = 0;
  uint64_t pool_used = 0;
  uint64_t pool_threshold = 0;
};
// `caller`: code address of whoever asked, for the record's source.
void ChangeMemory(const MemoryChange& change, const void* caller);
// `operation` is CUpti_ActivityMemoryPoolOperationType.
void ChangePool(uint32_t operation, uint64_t pool, int device, uint64_t reserved, uint64_t used, uint64_t threshold);
void LoadModule(uint32_t id, uint32_t bytes, int device);
void CreateContext(int device);

// Until everything that was told has ended.
void WaitForActivity();

// The stacks of external correlation ids, one for each kind and thread.
CUptiResult PushExternalId(uint32_t kind, uint64_t id);
CUptiResult PopExternalId(uint32_t kind, uint64_t* id);

}  // namespace oomtrace::simgpu
