// Which ranges of this process's addresses the simulated GPU handed out, and as what.
//
// Device memory is host address space: private, anonymous, NORESERVE, never backed by a page until somebody writes a
// byte. One registry for the process, shared by all devices as CUDA's unified addressing is. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>

namespace oomtrace::simgpu {

enum class MemoryKind { kDevice, kManaged, kPinnedHost, kRegisteredHost };

struct AddressRange {
  uintptr_t base = 0;
  size_t bytes = 0;
  MemoryKind kind = MemoryKind::kDevice;
  int device = 0;
};

// Granularity of device memory: CUDA's virtual memory management maps 2 MiB pages.
inline constexpr size_t kPageBytes = size_t{2} << 20;

inline constexpr size_t RoundUp(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

class AddressSpace {
 public:
  static AddressSpace& Get();

  // Maps fresh zeros, aligned to 2 MiB. 0: the host has no address space left.
  uintptr_t Map(size_t bytes, MemoryKind kind, int device);
  // Gives back exactly what Map() returned. False: no such range, or another kind.
  bool Unmap(uintptr_t base, MemoryKind kind);

  // Notes memory that the application owns (cudaHostRegister). False: already noted.
  bool Register(uintptr_t base, size_t bytes, int device);
  bool Unregister(uintptr_t base);

  std::optional<AddressRange> Find(const void* address) const;
  bool IsDevice(const void* address) const;

 private:
  mutable std::shared_mutex mutex_;
  std::map<uintptr_t, AddressRange> ranges_;
};

// Makes [address, address + bytes) of host memory read as zeros without touching gigabytes of pages: whole pages of
// private anonymous memory are returned to the kernel, everything else is set to 0.
void ZeroHostMemory(void* address, size_t bytes);

}  // namespace oomtrace::simgpu
