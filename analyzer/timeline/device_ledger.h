// Which device calls gave out what still lives: addresses, handles of physical memory, mappings, contexts, code.
//
// No byte is counted twice: physical memory counts from its creation until its last owner let go of it and it is mapped
// nowhere; a mapping counts only where the memory behind it is not in the trace; host memory, imported memory and what
// a graph will take when it is launched do not count at all.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/events.h"
#include "analyzer/timeline/live_set.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

class DeviceLedger {
 public:
  // Appends to `allocations` and sets their deaths.
  explicit DeviceLedger(std::vector<DeviceAllocation>* allocations) : allocations_(*allocations) {}

  // `allocation` as it is known of the event; kind, device and what counts are set here.
  void Add(const DeviceAllocEvent& event, DeviceAllocation allocation);

  // Indices of the allocations that the event ends; empty where it is of something unknown.
  std::vector<int64_t> Free(const DeviceFreeEvent& event);

  // Index of the live allocation or mapping that holds `address`, -1 where none does.
  int64_t Find(uint64_t address, int32_t device) const;

 private:
  struct Handle {
    int64_t index = 0;
    int owners = 1;
    int mappings = 0;
  };

  LiveSet& SpaceOf(MemoryKind kind, int32_t device);
  void Map(DeviceAllocation* mapping);
  void Die(int64_t index, int64_t time, std::vector<int64_t>* dead);
  void DieIfUnused(uint64_t handle, int64_t time, std::vector<int64_t>* dead);
  void Release(uint64_t handle, int64_t time, std::vector<int64_t>* dead);
  void Unmap(const DeviceFreeEvent& event, std::vector<int64_t>* dead);
  void FreeAddress(const DeviceFreeEvent& event, std::vector<int64_t>* dead);
  void EndContext(const DeviceFreeEvent& event, std::vector<int64_t>* dead);

  std::vector<DeviceAllocation>& allocations_;
  absl::flat_hash_map<int32_t, LiveSet> addresses_;  // by device
  absl::flat_hash_map<int32_t, LiveSet> mappings_;   // by device
  absl::flat_hash_map<uint64_t, Handle> handles_;
  absl::flat_hash_map<uint64_t, int64_t> code_;      // modules and contexts: index by handle
  absl::flat_hash_map<int64_t, uint64_t> contexts_;  // CUDA context by index, of those that were made in one's own
};

}  // namespace oomtrace
