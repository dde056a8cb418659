#include "simgpu/graph_memory.h"

#include <algorithm>

#include "simgpu/address_space.h"
#include "simgpu/contents.h"

namespace oomtrace::simgpu {

void GraphMemory::AddGraph(uintptr_t graph) {
  std::lock_guard lock(mutex_);
  graphs_.try_emplace(graph);
}

GraphMemory::Result GraphMemory::AddAllocation(uintptr_t graph, uintptr_t node, size_t bytes, int device,
                                               uintptr_t* address) {
  std::lock_guard lock(mutex_);
  const auto found = graphs_.find(graph);
  if (found == graphs_.end() || bytes == 0) return Result::kInvalid;
  if (bytes > static_cast<size_t>(device_(device).total())) return Result::kOutOfMemory;
  const size_t size = RoundUp(bytes, kPageBytes);
  *address = AddressSpace::Get().Map(size, MemoryKind::kDevice, device);
  if (*address == 0) return Result::kOutOfMemory;
  blocks_[*address] = {size, device};
  found->second.push_back({.handle = node, .allocates = *address});
  return Result::kOk;
}

GraphMemory::Result GraphMemory::AddFree(uintptr_t graph, uintptr_t node, uintptr_t address) {
  std::lock_guard lock(mutex_);
  const auto found = graphs_.find(graph);
  if (found == graphs_.end() || !blocks_.contains(address)) return Result::kInvalid;
  found->second.push_back({.handle = node, .frees = address});
  return Result::kOk;
}

GraphMemory::Result GraphMemory::AddOther(uintptr_t graph, uintptr_t node) {
  std::lock_guard lock(mutex_);
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) return Result::kInvalid;
  found->second.push_back({.handle = node});
  return Result::kOk;
}

std::vector<uintptr_t> GraphMemory::Nodes(uintptr_t graph) const {
  std::lock_guard lock(mutex_);
  std::vector<uintptr_t> handles;
  if (const auto found = graphs_.find(graph); found != graphs_.end()) {
    for (const Node& node : found->second) handles.push_back(node.handle);
  }
  return handles;
}

GraphMemory::Result GraphMemory::Instantiate(uintptr_t graph, uintptr_t executable, bool free_on_launch) {
  std::lock_guard lock(mutex_);
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) return Result::kInvalid;
  executables_[executable] = {found->second, free_on_launch};
  return Result::kOk;
}

// Books what the highest moment of the launch needs beyond what the devices' pools have: all of it, or nothing.
GraphMemory::Result GraphMemory::Reserve(const std::vector<Node>& nodes) {
  std::map<int, uint64_t> now, highest;
  for (const Node& node : nodes) {
    if (node.allocates != 0) {
      const Block& block = blocks_.at(node.allocates);
      auto [used, fresh] = now.try_emplace(block.device, uses_[block.device].used);
      highest[block.device] = std::max(highest[block.device], used->second += block.bytes);
    } else if (node.frees != 0) {
      const Block& block = blocks_.at(node.frees);
      now.try_emplace(block.device, uses_[block.device].used).first->second -= block.bytes;
    }
  }
  std::vector<std::pair<int, uint64_t>> booked;
  for (const auto& [device, bytes] : highest) {
    Use& use = uses_[device];
    if (bytes <= use.reserved) continue;
    if (!device_(device).Book(bytes - use.reserved)) {
      for (const auto& [earlier, missing] : booked) {
        device_(earlier).Unbook(missing);
        uses_[earlier].reserved -= missing;
      }
      return Result::kOutOfMemory;
    }
    booked.emplace_back(device, bytes - use.reserved);
    use.reserved = bytes;
  }
  for (const auto& [device, bytes] : highest) {
    Use& use = uses_[device];
    use.used_high = std::max(use.used_high, bytes);
    use.reserved_high = std::max(use.reserved_high, use.reserved);
  }
  return Result::kOk;
}

GraphMemory::Result GraphMemory::Launch(uintptr_t executable) {
  std::lock_guard lock(mutex_);
  const auto found = executables_.find(executable);
  if (found == executables_.end()) return Result::kInvalid;
  const std::vector<Node>& nodes = found->second.nodes;
  for (const Node& node : nodes) {
    if (node.allocates == 0 || !blocks_.at(node.allocates).live) continue;
    if (!found->second.free_on_launch) return Result::kInvalid;
    Release(blocks_.at(node.allocates), node.allocates);
  }
  if (const Result result = Reserve(nodes); result != Result::kOk) return result;
  for (const Node& node : nodes) {
    if (node.allocates != 0) {
      Block& block = blocks_.at(node.allocates);
      block.live = true;
      uses_[block.device].used += block.bytes;
    } else if (node.frees != 0 && blocks_.at(node.frees).live) {
      Release(blocks_.at(node.frees), node.frees);
    }
  }
  return Result::kOk;
}

// The address stays: the next launch gives it memory again.
void GraphMemory::Release(Block& block, uintptr_t address) {
  block.live = false;
  uses_[block.device].used -= block.bytes;
  Contents::Get().Forget(reinterpret_cast<void*>(address), block.bytes);
}

void GraphMemory::Forget(uintptr_t handle) {
  std::lock_guard lock(mutex_);
  graphs_.erase(handle);
  executables_.erase(handle);
}

bool GraphMemory::Free(uintptr_t address) {
  std::lock_guard lock(mutex_);
  const auto found = blocks_.find(address);
  if (found == blocks_.end() || !found->second.live) return false;
  Release(found->second, address);
  return true;
}

GraphMemory::Use GraphMemory::UseOf(int device) const {
  std::lock_guard lock(mutex_);
  const auto found = uses_.find(device);
  return found == uses_.end() ? Use{} : found->second;
}

void GraphMemory::ResetHigh(int device) {
  std::lock_guard lock(mutex_);
  Use& use = uses_[device];
  use.used_high = use.used;
  use.reserved_high = use.reserved;
}

void GraphMemory::Trim(int device) {
  std::lock_guard lock(mutex_);
  Use& use = uses_[device];
  device_(device).Unbook(use.reserved - use.used);
  use.reserved = use.used;
}

}  // namespace oomtrace::simgpu
