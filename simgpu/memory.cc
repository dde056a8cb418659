#include "simgpu/memory.h"

#include <algorithm>

#include "simgpu/address_space.h"
#include "simgpu/contents.h"

namespace oomtrace::simgpu {
namespace {

// The driver's allocator: from 1 MiB on, whole 2 MiB pages; below, a share of one, aligned to 512 bytes (256 is
// documented; PyTorch's and cuBLAS's own assertions see 512).
constexpr size_t kSmallBelow = size_t{1} << 20;
constexpr size_t kSmallAlignment = 512;

}  // namespace

DeviceMemory::DeviceMemory(int device, Config config) : device_(device), config_(config) {}

bool DeviceMemory::BookLocked(size_t bytes) {
  const int64_t context = context_ ? config_.context : 0;
  const int64_t available = config_.total - config_.other - context - booked_;
  if (available < 0 || bytes > static_cast<size_t>(available)) return false;
  booked_ += static_cast<int64_t>(bytes);
  return true;
}

bool DeviceMemory::BookContext() {
  std::lock_guard lock(mutex_);
  if (context_) return true;
  if (config_.other + booked_ + config_.context > config_.total) return false;
  context_ = true;
  return true;
}

void DeviceMemory::DropContext() {
  std::lock_guard lock(mutex_);
  FreeAllOf(0);
  context_ = false;
  holds_ = 0;
}

void DeviceMemory::FreeAllOf(uint64_t context) {
  for (auto at = allocations_.begin(); at != allocations_.end();) {
    const auto allocation = at++;
    if (allocation->second.context == context) FreeLocked(allocation->first);
  }
}

bool DeviceMemory::BookOwnContext(uint64_t context) {
  std::lock_guard lock(mutex_);
  return BookLocked(static_cast<size_t>(config_.context)) && own_contexts_.insert(context).second;
}

bool DeviceMemory::DropOwnContext(uint64_t context) {
  std::lock_guard lock(mutex_);
  if (own_contexts_.erase(context) == 0) return false;
  FreeAllOf(context);
  booked_ -= config_.context;
  return true;
}

void DeviceMemory::HoldContext() {
  std::lock_guard lock(mutex_);
  ++holds_;
}

bool DeviceMemory::ReleaseContext() {
  std::lock_guard lock(mutex_);
  return holds_ > 0 && --holds_ == 0;
}

bool DeviceMemory::has_context() const {
  std::lock_guard lock(mutex_);
  return context_;
}

bool DeviceMemory::Book(size_t bytes) {
  std::lock_guard lock(mutex_);
  return BookLocked(bytes);
}

void DeviceMemory::Unbook(size_t bytes) {
  std::lock_guard lock(mutex_);
  booked_ -= std::min<int64_t>(booked_, static_cast<int64_t>(bytes));
}

uintptr_t DeviceMemory::Allocate(size_t bytes, uint64_t context) {
  if (bytes == 0 || bytes > static_cast<size_t>(config_.total)) return 0;
  std::lock_guard lock(mutex_);
  if (bytes < kSmallBelow) {
    const uintptr_t address = AllocateSmall(RoundUp(bytes, kSmallAlignment));
    if (address != 0) allocations_[address] = {bytes, context};
    return address;
  }
  const size_t pages = RoundUp(bytes, kPageBytes);
  if (!BookLocked(pages)) return 0;
  const uintptr_t address = AddressSpace::Get().Map(pages, MemoryKind::kDevice, device_);
  if (address == 0) {
    booked_ -= static_cast<int64_t>(pages);
    return 0;
  }
  allocations_[address] = {bytes, context};
  return address;
}

uintptr_t DeviceMemory::AllocateSmall(size_t bytes) {
  const auto take = [&](uintptr_t base, Chunk& chunk) -> uintptr_t {
    for (auto gap = chunk.gaps.begin(); gap != chunk.gaps.end(); ++gap) {
      if (gap->second < bytes) continue;
      const auto [offset, room] = *gap;
      chunk.gaps.erase(gap);
      if (room > bytes) chunk.gaps[offset + static_cast<uint32_t>(bytes)] = room - static_cast<uint32_t>(bytes);
      ++chunk.live;
      return base + offset;
    }
    return 0;
  };
  for (auto& [base, chunk] : chunks_) {
    if (const uintptr_t address = take(base, chunk)) return address;
  }
  if (!BookLocked(kPageBytes)) return 0;
  const uintptr_t base = AddressSpace::Get().Map(kPageBytes, MemoryKind::kDevice, device_);
  if (base == 0) {
    booked_ -= static_cast<int64_t>(kPageBytes);
    return 0;
  }
  Chunk& chunk = chunks_[base];
  chunk.gaps[0] = kPageBytes;
  return take(base, chunk);
}

bool DeviceMemory::Free(uintptr_t address) {
  std::lock_guard lock(mutex_);
  return FreeLocked(address);
}

bool DeviceMemory::FreeLocked(uintptr_t address) {
  const auto it = allocations_.find(address);
  if (it == allocations_.end()) return false;
  const size_t bytes = it->second.bytes;
  allocations_.erase(it);
  if (bytes < kSmallBelow) {
    FreeSmall(address, RoundUp(bytes, kSmallAlignment));
    return true;
  }
  const size_t pages = RoundUp(bytes, kPageBytes);
  Contents::Get().Drop(reinterpret_cast<void*>(address), pages);
  AddressSpace::Get().Unmap(address, MemoryKind::kDevice);
  booked_ -= static_cast<int64_t>(pages);
  return true;
}

void DeviceMemory::FreeSmall(uintptr_t address, size_t bytes) {
  const uintptr_t base = address / kPageBytes * kPageBytes;
  Chunk& chunk = chunks_.at(base);
  if (--chunk.live == 0) {
    Contents::Get().Drop(reinterpret_cast<void*>(base), kPageBytes);
    AddressSpace::Get().Unmap(base, MemoryKind::kDevice);
    chunks_.erase(base);
    booked_ -= static_cast<int64_t>(kPageBytes);
    return;
  }
  Contents::Get().Forget(reinterpret_cast<void*>(address), bytes);
  auto gap = chunk.gaps.emplace(static_cast<uint32_t>(address - base), static_cast<uint32_t>(bytes)).first;
  if (const auto next = std::next(gap); next != chunk.gaps.end() && gap->first + gap->second == next->first) {
    gap->second += next->second;
    chunk.gaps.erase(next);
  }
  if (gap != chunk.gaps.begin()) {
    const auto previous = std::prev(gap);
    if (previous->first + previous->second == gap->first) {
      previous->second += gap->second;
      chunk.gaps.erase(gap);
    }
  }
}

std::optional<DeviceMemory::Allocation> DeviceMemory::Find(uintptr_t address) const {
  std::lock_guard lock(mutex_);
  auto it = allocations_.upper_bound(address);
  if (it == allocations_.begin()) return std::nullopt;
  --it;
  if (address - it->first >= it->second.bytes) return std::nullopt;
  return Allocation{it->first, it->second.bytes};
}

int64_t DeviceMemory::free() const {
  std::lock_guard lock(mutex_);
  return std::max<int64_t>(0, config_.total - config_.other - (context_ ? config_.context : 0) - booked_);
}

int64_t DeviceMemory::used_by_this_process() const {
  std::lock_guard lock(mutex_);
  return (context_ ? config_.context : 0) + booked_;
}

}  // namespace oomtrace::simgpu
