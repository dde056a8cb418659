#include "simgpu/virtual_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "simgpu/address_space.h"
#include "simgpu/contents.h"

namespace oomtrace::simgpu {

VirtualMemory& VirtualMemory::Get() {
  static VirtualMemory* memory = new VirtualMemory;
  return *memory;
}

VirtualMemory::Result VirtualMemory::Reserve(size_t bytes, int device, uintptr_t* address) {
  if (bytes == 0 || bytes % kPageBytes != 0) return Result::kInvalid;
  const uintptr_t base = AddressSpace::Get().Map(bytes, MemoryKind::kDevice, device);
  if (base == 0) return Result::kOutOfMemory;
  std::lock_guard lock(mutex_);
  reservations_[base] = bytes;
  *address = base;
  return Result::kOk;
}

VirtualMemory::Result VirtualMemory::FreeRange(uintptr_t address, size_t bytes) {
  std::lock_guard lock(mutex_);
  const auto it = reservations_.find(address);
  if (it == reservations_.end() || it->second != bytes) return Result::kInvalid;
  const auto mapped = mappings_.lower_bound(address);
  if (mapped != mappings_.end() && mapped->first < address + bytes) return Result::kInvalid;
  reservations_.erase(it);
  Contents::Get().Drop(reinterpret_cast<void*>(address), bytes);
  AddressSpace::Get().Unmap(address, MemoryKind::kDevice);
  return Result::kOk;
}

VirtualMemory::Result VirtualMemory::Create(DeviceMemory& memory, int device, size_t bytes, uint64_t* handle) {
  if (bytes == 0 || bytes % kPageBytes != 0) return Result::kInvalid;
  if (!memory.Book(bytes)) return Result::kOutOfMemory;
  std::lock_guard lock(mutex_);
  *handle = next_handle_++;
  handles_[*handle] = {&memory, device, bytes, /*owners=*/1, /*mappings=*/0};
  return Result::kOk;
}

VirtualMemory::Result VirtualMemory::RetainAt(uintptr_t address, uint64_t* handle) {
  std::lock_guard lock(mutex_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return Result::kInvalid;
  --it;
  if (address - it->first >= it->second.bytes) return Result::kInvalid;
  *handle = it->second.handle;
  ++handles_.at(*handle).owners;
  return Result::kOk;
}

void VirtualMemory::DropIfUnused(std::map<uint64_t, Handle>::iterator it) {
  if (it->second.owners > 0 || it->second.mappings > 0) return;
  if (it->second.memory != nullptr) it->second.memory->Unbook(it->second.bytes);
  handles_.erase(it);
}

VirtualMemory::Result VirtualMemory::Release(uint64_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end() || it->second.owners == 0) return Result::kInvalid;
  --it->second.owners;
  DropIfUnused(it);
  return Result::kOk;
}

uint64_t VirtualMemory::Adopt(int device, size_t bytes) {
  std::lock_guard lock(mutex_);
  handles_[next_handle_] = {nullptr, device, bytes, /*owners=*/1, /*mappings=*/0};
  return next_handle_++;
}

std::optional<size_t> VirtualMemory::SizeOf(uint64_t handle) const {
  std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end()) return std::nullopt;
  return it->second.bytes;
}

std::optional<int> VirtualMemory::DeviceOf(uint64_t handle) const {
  std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end()) return std::nullopt;
  return it->second.device;
}

VirtualMemory::Result VirtualMemory::Map(uintptr_t address, size_t bytes, size_t offset, uint64_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end() || bytes == 0 || offset + bytes > it->second.bytes) return Result::kInvalid;
  auto reservation = reservations_.upper_bound(address);
  if (reservation == reservations_.begin()) return Result::kInvalid;
  --reservation;
  if (address + bytes > reservation->first + reservation->second) return Result::kInvalid;
  const auto next = mappings_.lower_bound(address);
  if (next != mappings_.end() && next->first < address + bytes) return Result::kInvalid;
  if (next != mappings_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second.bytes > address) return Result::kInvalid;
  }
  mappings_[address] = {bytes, handle};
  ++it->second.mappings;
  return Result::kOk;
}

VirtualMemory::Result VirtualMemory::Unmap(uintptr_t address, size_t bytes) {
  std::lock_guard lock(mutex_);
  const uintptr_t end = address + bytes;
  uintptr_t covered = address;
  const auto first = mappings_.find(address);
  auto last = first;
  for (; last != mappings_.end() && last->first == covered && covered < end; ++last) covered += last->second.bytes;
  if (first == mappings_.end() || covered != end) return Result::kInvalid;
  for (auto it = first; it != last; it = mappings_.erase(it)) {
    const auto handle = handles_.find(it->second.handle);
    --handle->second.mappings;
    DropIfUnused(handle);
  }
  Contents::Get().Drop(reinterpret_cast<void*>(address), bytes);
  madvise(reinterpret_cast<void*>(address), bytes, MADV_DONTNEED);
  return Result::kOk;
}

VirtualMemory::Result VirtualMemory::CheckMapped(uintptr_t address, size_t bytes) const {
  std::lock_guard lock(mutex_);
  const uintptr_t end = address + bytes;
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return Result::kInvalid;
  uintptr_t covered = address;
  for (--it; it != mappings_.end() && it->first <= covered && covered < end; ++it) {
    covered = std::max(covered, it->first + it->second.bytes);
  }
  return covered >= end ? Result::kOk : Result::kInvalid;
}

std::optional<VirtualMemory::Mapping> VirtualMemory::Find(uintptr_t address) const {
  std::lock_guard lock(mutex_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return std::nullopt;
  --it;
  if (address - it->first >= it->second.bytes) return std::nullopt;
  return Mapping{it->first, it->second.bytes};
}

}  // namespace oomtrace::simgpu
