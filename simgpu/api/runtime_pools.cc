// CUDA runtime: stream-ordered allocation and memory pools.
#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "simgpu/activity.h"
#include "simgpu/api/pools.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

struct Pools {
  std::mutex mutex;
  std::vector<std::unique_ptr<MemoryPool>> all;  // the first device_count() are the default ones
  std::vector<MemoryPool*> current;              // by device
};

Pools& AllPools() {
  static Pools* pools = [] {
    auto* fresh = new Pools;
    Machine& machine = Machine::Get();
    for (int i = 0; i < machine.device_count(); ++i) {
      fresh->all.push_back(std::make_unique<MemoryPool>(machine.device(i), i));
      fresh->current.push_back(fresh->all.back().get());
    }
    return fresh;
  }();
  return *pools;
}

cudaMemPool_t Handle(MemoryPool& pool) { return reinterpret_cast<cudaMemPool_t>(&pool); }

// nullptr: not a pool.
MemoryPool* FromHandle(cudaMemPool_t handle) {
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  for (const auto& pool : pools.all) {
    if (Handle(*pool) == handle && !pool->retired()) return pool.get();
  }
  return nullptr;
}

void Tell(MemoryPool& pool, bool allocation, uint64_t address, uint64_t bytes, const void* caller) {
  if (!CuptiSession::Watched()) return;
  ChangeMemory({.allocation = allocation,
                .kind = CUPTI_ACTIVITY_MEMORY_KIND_DEVICE,
                .address = address,
                .bytes = bytes,
                .device = pool.device(),
                .asynchronous = true,
                .pool = reinterpret_cast<uintptr_t>(&pool),
                .pool_reserved = pool.reserved(),
                .pool_used = pool.used(),
                .pool_threshold = pool.threshold()},
               caller);
}

void Tell(MemoryPool& pool, CUpti_ActivityMemoryPoolOperationType operation) {
  ChangePool(operation, reinterpret_cast<uintptr_t>(&pool), pool.device(), pool.reserved(), pool.used(),
             pool.threshold());
}

cudaError_t AllocateFrom(MemoryPool& pool, void** pointer, size_t bytes, const void* caller) {
  const ApiCall call(kRuntimeApi, CUPTI_RUNTIME_TRACE_CBID_cudaMallocAsync_v11020, "cudaMallocAsync");
  *pointer = nullptr;
  if (bytes == 0) return Return(cudaSuccess);
  const uintptr_t address = pool.Allocate(bytes);
  Log("cudaMallocAsync(%zu) = %#zx", bytes, address);
  if (address == 0) return Return(cudaErrorMemoryAllocation);
  Tell(pool, true, address, bytes, caller);
  *pointer = reinterpret_cast<void*>(address);
  return Return(cudaSuccess);
}

}  // namespace

namespace oomtrace::simgpu {

MemoryPool& DefaultPool(int device) { return *AllPools().all[device]; }

MemoryPool& CurrentPool(int device) {
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  return *pools.current[device];
}

bool FreeToPool(uintptr_t address) {
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  const auto owner =
      std::find_if(pools.all.begin(), pools.all.end(), [&](const auto& pool) { return pool->Owns(address); });
  if (owner == pools.all.end()) return false;
  const size_t bytes = (*owner)->SizeOf(address);
  (*owner)->Free(address);
  Tell(**owner, false, address, bytes, nullptr);
  if ((*owner)->retired() && (*owner)->used() == 0) pools.all.erase(owner);
  return true;
}

void SettlePools() {
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  for (const auto& pool : pools.all) pool->Settle();
}

}  // namespace oomtrace::simgpu

SIMGPU_API cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t) {
  SIMGPU_REQUIRE_CONTEXT();
  return AllocateFrom(CurrentPool(Machine::current_device()), pointer, bytes, __builtin_return_address(0));
}

SIMGPU_API cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t handle, cudaStream_t) {
  SIMGPU_REQUIRE_CONTEXT();
  MemoryPool* pool = FromHandle(handle);
  return pool == nullptr ? Return(cudaErrorInvalidValue)
                         : AllocateFrom(*pool, pointer, bytes, __builtin_return_address(0));
}

SIMGPU_API cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) {
  SIMGPU_REQUIRE_CONTEXT();
  if (pointer == nullptr) return Return(cudaSuccess);
  Log("cudaFreeAsync(%p)", pointer);
  return FreeToPool(reinterpret_cast<uintptr_t>(pointer)) ? Return(cudaSuccess) : cudaFree(pointer);
}

SIMGPU_API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* handle, int device) {
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  *handle = Handle(DefaultPool(device));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* handle, int device) {
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  *handle = Handle(CurrentPool(device));
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t handle) {
  MemoryPool* pool = FromHandle(handle);
  if (pool == nullptr || !Machine::Get().valid(device)) return Return(cudaErrorInvalidValue);
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  pools.current[device] = pool;
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolCreate(cudaMemPool_t* handle, const cudaMemPoolProps* properties) {
  const int device = properties->location.id;
  if (!Machine::Get().valid(device)) return Return(cudaErrorInvalidDevice);
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  pools.all.push_back(std::make_unique<MemoryPool>(Machine::Get().device(device), device));
  *handle = Handle(*pools.all.back());
  Tell(*pools.all.back(), CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_CREATED);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolDestroy(cudaMemPool_t handle) {
  Pools& pools = AllPools();
  std::lock_guard lock(pools.mutex);
  const auto first = pools.all.begin() + static_cast<std::ptrdiff_t>(pools.current.size());
  const auto it = std::find_if(first, pools.all.end(),
                               [&](const auto& pool) { return Handle(*pool) == handle && !pool->retired(); });
  if (it == pools.all.end()) return Return(cudaErrorInvalidValue);
  for (size_t i = 0; i < pools.current.size(); ++i) {
    if (pools.current[i] == it->get()) pools.current[i] = pools.all[i].get();
  }
  Tell(**it, CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_DESTROYED);
  if ((*it)->Retire()) pools.all.erase(it);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t handle, size_t keep) {
  MemoryPool* pool = FromHandle(handle);
  if (pool == nullptr) return Return(cudaErrorInvalidValue);
  pool->Trim(keep);
  Tell(*pool, CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_TRIMMED);
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t handle, cudaMemPoolAttr attribute, void* value) {
  MemoryPool* pool = FromHandle(handle);
  if (pool == nullptr) return Return(cudaErrorInvalidValue);
  if (attribute == cudaMemPoolAttrReleaseThreshold) pool->set_threshold(*static_cast<uint64_t*>(value));
  if (attribute == cudaMemPoolAttrUsedMemHigh || attribute == cudaMemPoolAttrReservedMemHigh) pool->ResetHigh();
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t handle, cudaMemPoolAttr attribute, void* value) {
  MemoryPool* pool = FromHandle(handle);
  if (pool == nullptr) return Return(cudaErrorInvalidValue);
  auto* bytes = static_cast<uint64_t*>(value);
  switch (attribute) {
    case cudaMemPoolAttrReleaseThreshold:
      *bytes = pool->threshold();
      break;
    case cudaMemPoolAttrReservedMemCurrent:
      *bytes = pool->reserved();
      break;
    case cudaMemPoolAttrReservedMemHigh:
      *bytes = pool->reserved_high();
      break;
    case cudaMemPoolAttrUsedMemCurrent:
      *bytes = pool->used();
      break;
    case cudaMemPoolAttrUsedMemHigh:
      *bytes = pool->used_high();
      break;
    default:  // the reuse policies: all on
      *static_cast<int*>(value) = 1;
  }
  return Return(cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolSetAccess(cudaMemPool_t handle, const cudaMemAccessDesc*, size_t) {
  return Return(FromHandle(handle) == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}

SIMGPU_API cudaError_t cudaMemPoolGetAccess(cudaMemAccessFlags* flags, cudaMemPool_t handle, cudaMemLocation*) {
  *flags = cudaMemAccessFlagsProtReadWrite;
  return Return(FromHandle(handle) == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}
