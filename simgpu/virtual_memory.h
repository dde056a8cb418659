// CUDA's virtual memory management: address ranges and physical handles, each with a life of its own. This is what
// PyTorch's expandable segments are made of.
//
// Physical memory is booked when a handle is created and returned when the handle is released and mapped nowhere.
// One for the process. Thread-safe. Addresses and sizes in bytes, multiples of 2 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "simgpu/memory.h"

namespace oomtrace::simgpu {

class VirtualMemory {
 public:
  enum class Result { kOk, kInvalid, kOutOfMemory };

  static VirtualMemory& Get();

  Result Reserve(size_t bytes, int device, uintptr_t* address);
  Result FreeRange(uintptr_t address, size_t bytes);

  Result Create(DeviceMemory& memory, int device, size_t bytes, uint64_t* handle);
  // One more owner (cuMemRetainAllocationHandle of the handle mapped at `address`).
  Result RetainAt(uintptr_t address, uint64_t* handle);
  Result Release(uint64_t handle);
  // A handle of memory that is booked elsewhere: another process's, or that of others (multicast).
  uint64_t Adopt(int device, size_t bytes);
  std::optional<int> DeviceOf(uint64_t handle) const;
  std::optional<size_t> SizeOf(uint64_t handle) const;

  Result Map(uintptr_t address, size_t bytes, size_t offset, uint64_t handle);
  // The range must consist of whole mappings, as the driver demands. Its contents are lost.
  Result Unmap(uintptr_t address, size_t bytes);
  Result CheckMapped(uintptr_t address, size_t bytes) const;

  struct Mapping {
    uintptr_t base;
    size_t bytes;
  };
  std::optional<Mapping> Find(uintptr_t address) const;

 private:
  struct Handle {
    DeviceMemory* memory;  // nullptr: booked elsewhere
    int device;
    size_t bytes;
    int owners;
    int mappings;
  };
  struct Mapped {
    size_t bytes;
    uint64_t handle;
  };

  void DropIfUnused(std::map<uint64_t, Handle>::iterator it);

  mutable std::mutex mutex_;
  uint64_t next_handle_ = 1;
  std::map<uint64_t, Handle> handles_;
  std::map<uintptr_t, Mapped> mappings_;
  std::map<uintptr_t, size_t> reservations_;
};

}  // namespace oomtrace::simgpu
