#include "simgpu/memory_pool.h"

#include <algorithm>

#include "simgpu/address_space.h"
#include "simgpu/contents.h"

namespace oomtrace::simgpu {
namespace {

constexpr size_t kStep = size_t{32} << 20;
constexpr size_t kAlignment = 512;

}  // namespace

MemoryPool::~MemoryPool() {
  for (const auto& [address, bytes] : allocations_) {
    Contents::Get().Drop(reinterpret_cast<void*>(address), bytes);
    AddressSpace::Get().Unmap(address, MemoryKind::kDevice);
  }
  memory_.Unbook(reserved_);
}

uintptr_t MemoryPool::Allocate(size_t bytes) {
  if (bytes == 0 || bytes > static_cast<size_t>(memory_.total())) return 0;
  const size_t size = RoundUp(bytes, kAlignment);
  std::lock_guard lock(mutex_);
  if (used_ + size > reserved_) {
    const size_t missing = used_ + size - reserved_;
    const size_t step = RoundUp(missing, kStep);
    const size_t page = RoundUp(missing, kPageBytes);
    if (memory_.Book(step)) {
      reserved_ += step;
    } else if (memory_.Book(page)) {  // the last pages of a full device
      reserved_ += page;
    } else {
      return 0;
    }
  }
  const uintptr_t address = AddressSpace::Get().Map(size, MemoryKind::kDevice, device_);
  if (address == 0) return 0;
  allocations_[address] = size;
  used_ += size;
  used_high_ = std::max(used_high_, used_);
  reserved_high_ = std::max(reserved_high_, reserved_);
  return address;
}

bool MemoryPool::Free(uintptr_t address) {
  std::lock_guard lock(mutex_);
  const auto it = allocations_.find(address);
  if (it == allocations_.end()) return false;
  Contents::Get().Drop(reinterpret_cast<void*>(address), it->second);
  AddressSpace::Get().Unmap(address, MemoryKind::kDevice);
  used_ -= it->second;
  allocations_.erase(it);
  if (retired_) TrimLocked(0);
  return true;
}

bool MemoryPool::Owns(uintptr_t address) const {
  std::lock_guard lock(mutex_);
  return allocations_.contains(address);
}

size_t MemoryPool::SizeOf(uintptr_t address) const {
  std::lock_guard lock(mutex_);
  const auto it = allocations_.find(address);
  return it == allocations_.end() ? 0 : it->second;
}

void MemoryPool::Trim(size_t keep) {
  std::lock_guard lock(mutex_);
  TrimLocked(keep);
}

bool MemoryPool::Retire() {
  std::lock_guard lock(mutex_);
  retired_ = true;
  threshold_ = 0;
  TrimLocked(0);
  return allocations_.empty();
}

bool MemoryPool::retired() const {
  std::lock_guard lock(mutex_);
  return retired_;
}

void MemoryPool::TrimLocked(size_t keep) {
  const uint64_t wanted = std::max<uint64_t>(RoundUp(used_, kPageBytes), keep);
  if (wanted >= reserved_) return;
  memory_.Unbook(reserved_ - wanted);
  reserved_ = wanted;
}

uint64_t MemoryPool::threshold() const {
  std::lock_guard lock(mutex_);
  return threshold_;
}
void MemoryPool::set_threshold(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  threshold_ = bytes;
}
uint64_t MemoryPool::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}
uint64_t MemoryPool::used_high() const {
  std::lock_guard lock(mutex_);
  return used_high_;
}
uint64_t MemoryPool::reserved() const {
  std::lock_guard lock(mutex_);
  return reserved_;
}
uint64_t MemoryPool::reserved_high() const {
  std::lock_guard lock(mutex_);
  return reserved_high_;
}
void MemoryPool::ResetHigh() {
  std::lock_guard lock(mutex_);
  used_high_ = used_;
  reserved_high_ = reserved_;
}

}  // namespace oomtrace::simgpu
