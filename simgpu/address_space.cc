#include "simgpu/address_space.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <mutex>

namespace oomtrace::simgpu {
namespace {

// Below this, memset is cheaper than reading the process's memory map.
constexpr size_t kCheapToSet = size_t{16} << 20;

// True if every byte of the range lies in private anonymous mappings: only there does MADV_DONTNEED mean zeros.
bool IsPrivateAnonymous(uintptr_t begin, uintptr_t end) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  char line[4352];
  uintptr_t covered = begin;
  while (covered < end && std::fgets(line, sizeof line, maps) != nullptr) {
    uintptr_t low = 0;
    uintptr_t high = 0;
    unsigned long inode = 0;
    char permissions[5] = "";
    if (std::sscanf(line, "%lx-%lx %4s %*x %*s %lu", &low, &high, permissions, &inode) != 4) break;
    if (high <= covered) continue;
    if (low > covered || permissions[1] != 'w' || permissions[3] != 'p' || inode != 0) break;
    covered = high;
  }
  std::fclose(maps);
  return covered >= end;
}

}  // namespace

AddressSpace& AddressSpace::Get() {
  static AddressSpace* space = new AddressSpace;
  return *space;
}

uintptr_t AddressSpace::Map(size_t bytes, MemoryKind kind, int device) {
  const size_t size = RoundUp(bytes, kPageBytes);
  void* mapping =
      mmap(nullptr, size + kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return 0;
  const uintptr_t start = reinterpret_cast<uintptr_t>(mapping);
  const uintptr_t base = RoundUp(start, kPageBytes);
  if (base > start) munmap(mapping, base - start);
  munmap(reinterpret_cast<void*>(base + size), start + kPageBytes - base);
  // A transparent huge page would cost 2 MiB of real memory for the first byte of a small tensor.
  madvise(reinterpret_cast<void*>(base), size, MADV_NOHUGEPAGE);
  std::unique_lock lock(mutex_);
  ranges_[base] = {base, size, kind, device};
  return base;
}

bool AddressSpace::Unmap(uintptr_t base, MemoryKind kind) {
  std::unique_lock lock(mutex_);
  const auto it = ranges_.find(base);
  if (it == ranges_.end() || it->second.kind != kind) return false;
  const size_t bytes = it->second.bytes;
  ranges_.erase(it);
  munmap(reinterpret_cast<void*>(base), bytes);
  return true;
}

bool AddressSpace::Register(uintptr_t base, size_t bytes, int device) {
  std::unique_lock lock(mutex_);
  return ranges_.try_emplace(base, AddressRange{base, bytes, MemoryKind::kRegisteredHost, device}).second;
}

bool AddressSpace::Unregister(uintptr_t base) {
  std::unique_lock lock(mutex_);
  const auto it = ranges_.find(base);
  if (it == ranges_.end() || it->second.kind != MemoryKind::kRegisteredHost) return false;
  ranges_.erase(it);
  return true;
}

std::optional<AddressRange> AddressSpace::Find(const void* address) const {
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address);
  std::shared_lock lock(mutex_);
  auto it = ranges_.upper_bound(wanted);
  if (it == ranges_.begin()) return std::nullopt;
  --it;
  if (wanted - it->second.base >= it->second.bytes) return std::nullopt;
  return it->second;
}

bool AddressSpace::IsDevice(const void* address) const {
  const std::optional<AddressRange> range = Find(address);
  return range && (range->kind == MemoryKind::kDevice || range->kind == MemoryKind::kManaged);
}

void ZeroHostMemory(void* address, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(address);
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = RoundUp(begin, page);
  const uintptr_t last = (begin + bytes) / page * page;
  if (bytes < kCheapToSet || first >= last || !IsPrivateAnonymous(first, last) ||
      madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) {
    std::memset(address, 0, bytes);
    return;
  }
  std::memset(address, 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, begin + bytes - last);
}

}  // namespace oomtrace::simgpu
