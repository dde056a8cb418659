#include "analyzer/timeline/device_ledger.h"

namespace oomtrace {
namespace {

bool IsHandle(MemoryKind kind) {
  return kind == MemoryKind::kArray || kind == MemoryKind::kPhysical || kind == MemoryKind::kPool ||
         kind == MemoryKind::kImportedPhysical || kind == MemoryKind::kHostPhysical || kind == MemoryKind::kMulticast;
}

bool IsMeasured(MemoryKind kind) { return kind == MemoryKind::kContext || kind == MemoryKind::kCode; }

MemoryKind KindOf(trace::MemoryKind kind) {
  return kind >= trace::DEVICE && kind <= trace::CODE ? static_cast<MemoryKind>(kind) : MemoryKind::kDevice;
}

// A mapping counts only if nothing is known of the memory behind it.
bool TakesDeviceMemory(MemoryKind kind) {
  return kind == MemoryKind::kDevice || kind == MemoryKind::kArray || kind == MemoryKind::kPhysical ||
         kind == MemoryKind::kMapping || kind == MemoryKind::kPooled || IsMeasured(kind);
}

// The end of a context takes these along; physical memory and its mappings are the process's.
bool BelongsToContext(MemoryKind kind) {
  return kind != MemoryKind::kPhysical && kind != MemoryKind::kMapping && kind != MemoryKind::kHostPhysical &&
         kind != MemoryKind::kImportedPhysical && kind != MemoryKind::kMulticast;
}

}  // namespace

static_assert(static_cast<int>(MemoryKind::kDevice) == trace::DEVICE &&
              static_cast<int>(MemoryKind::kPhysical) == trace::PHYSICAL &&
              static_cast<int>(MemoryKind::kMapping) == trace::MAPPING &&
              static_cast<int>(MemoryKind::kGraph) == trace::GRAPH &&
              static_cast<int>(MemoryKind::kMulticast) == trace::MULTICAST &&
              static_cast<int>(MemoryKind::kCode) == trace::CODE);

LiveSet& DeviceLedger::SpaceOf(MemoryKind kind, int32_t device) {
  return kind == MemoryKind::kMapping ? mappings_[device] : addresses_[device];
}

void DeviceLedger::Map(DeviceAllocation* mapping) {
  const auto handle = handles_.find(mapping->handle);
  if (mapping->handle == 0 || handle == handles_.end()) return;
  ++handle->second.mappings;
  mapping->on_device = false;
  mapping->device = allocations_[static_cast<size_t>(handle->second.index)].device;
}

void DeviceLedger::Add(const DeviceAllocEvent& event, DeviceAllocation allocation) {
  allocation.kind = KindOf(event.kind);
  allocation.device = event.device;
  allocation.stream = event.stream;
  allocation.handle = event.handle;
  allocation.on_device = TakesDeviceMemory(allocation.kind);
  if (allocation.kind == MemoryKind::kRetained) {
    if (const auto handle = handles_.find(event.address); handle != handles_.end()) ++handle->second.owners;
    return;
  }
  if (allocation.kind == MemoryKind::kMapping) Map(&allocation);
  if (allocation.kind == MemoryKind::kPooled) {
    if (const auto pool = handles_.find(event.handle); pool != handles_.end())
      allocation.device = allocations_[static_cast<size_t>(pool->second.index)].device;
  }
  const auto index = static_cast<int64_t>(allocations_.size());
  const MemoryKind kind = allocation.kind;
  const int32_t device = allocation.device;
  allocations_.push_back(allocation);
  if (event.cuda_context != 0) contexts_[index] = event.cuda_context;
  std::vector<int64_t> replaced;
  if (IsHandle(kind)) {
    if (const auto known = handles_.find(event.address); known != handles_.end())
      Die(known->second.index, event.time, &replaced);
    handles_[event.address] = {.index = index};
  } else if (IsMeasured(kind)) {
    // A primary context is retained by each library that uses it, and takes its memory once.
    if (!code_.try_emplace(event.address, index).second && kind == MemoryKind::kCode) code_[event.address] = index;
  } else {
    for (const int64_t gone : SpaceOf(kind, device).Add(event.address, event.bytes, index))
      Die(gone, event.time, &replaced);
  }
}

void DeviceLedger::Die(int64_t index, int64_t time, std::vector<int64_t>* dead) {
  DeviceAllocation& allocation = allocations_[static_cast<size_t>(index)];
  if (allocation.died != kNever) return;
  allocation.died = time;
  dead->push_back(index);
}

void DeviceLedger::DieIfUnused(uint64_t handle, int64_t time, std::vector<int64_t>* dead) {
  const auto found = handles_.find(handle);
  if (found == handles_.end() || found->second.owners > 0 || found->second.mappings > 0) return;
  Die(found->second.index, time, dead);
  handles_.erase(found);
}

void DeviceLedger::Release(uint64_t handle, int64_t time, std::vector<int64_t>* dead) {
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return;
  --found->second.owners;
  DieIfUnused(handle, time, dead);
}

void DeviceLedger::Unmap(const DeviceFreeEvent& event, std::vector<int64_t>* dead) {
  for (auto& [device, mappings] : mappings_) {
    uint64_t address = event.address;
    do {
      const int64_t index = mappings.Remove(address);
      if (index < 0) break;
      Die(index, event.time, dead);
      const DeviceAllocation& mapping = allocations_[static_cast<size_t>(index)];
      if (const auto handle = handles_.find(mapping.handle); !mapping.on_device && handle != handles_.end()) {
        --handle->second.mappings;
        DieIfUnused(mapping.handle, event.time, dead);
      }
      address += static_cast<uint64_t>(allocations_[static_cast<size_t>(index)].bytes);
    } while (address < event.address + static_cast<uint64_t>(event.bytes));
  }
}

// Memory may be freed while another device is current.
void DeviceLedger::FreeAddress(const DeviceFreeEvent& event, std::vector<int64_t>* dead) {
  int64_t index = addresses_[event.device].Remove(event.address);
  for (auto set = addresses_.begin(); index < 0 && set != addresses_.end(); ++set)
    index = set->second.Remove(event.address);
  if (index >= 0) {
    Die(index, event.time, dead);
  } else {
    Unmap(event, dead);  // of a trace that does not tell mappings from other memory
  }
}

void DeviceLedger::EndContext(const DeviceFreeEvent& event, std::vector<int64_t>* dead) {
  for (size_t i = 0; i < allocations_.size(); ++i) {
    const DeviceAllocation& allocation = allocations_[i];
    const auto index = static_cast<int64_t>(i);
    if (allocation.died != kNever || !BelongsToContext(allocation.kind)) continue;
    const auto context = contexts_.find(index);
    const bool all = event.address == 0 && allocation.device == event.device;
    const bool in_it = context != contexts_.end() && context->second == event.address;
    const bool itself = allocation.kind == MemoryKind::kContext && allocation.address == event.address;
    if (!all && !in_it && !itself) continue;
    if (IsHandle(allocation.kind)) {
      handles_.erase(allocation.address);
    } else if (IsMeasured(allocation.kind)) {
      code_.erase(allocation.address);
    } else {
      SpaceOf(allocation.kind, allocation.device).Remove(allocation.address);
    }
    Die(index, event.time, dead);
  }
}

int64_t DeviceLedger::Find(uint64_t address, int32_t device) const {
  for (const auto* space : {&addresses_, &mappings_}) {
    const auto set = space->find(device);
    const int64_t index = set == space->end() ? -1 : set->second.Find(address);
    if (index >= 0) return index;
  }
  return -1;
}

std::vector<int64_t> DeviceLedger::Free(const DeviceFreeEvent& event) {
  std::vector<int64_t> dead;
  switch (KindOf(event.kind)) {
    case MemoryKind::kPhysical:
      Release(event.address, event.time, &dead);
      break;
    case MemoryKind::kMapping:
      Unmap(event, &dead);
      break;
    case MemoryKind::kContext:
      EndContext(event, &dead);
      break;
    case MemoryKind::kCode:
      if (const auto code = code_.find(event.address); code != code_.end()) {
        Die(code->second, event.time, &dead);
        code_.erase(code);
      }
      break;
    default:
      FreeAddress(event, &dead);
  }
  return dead;
}

}  // namespace oomtrace
