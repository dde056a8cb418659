// The data rule of the simulated GPU: a fresh allocation reads as zeros until the host writes it; kernels write
// nothing.
//
// Remembers which bytes of device memory the host has written, so that they can be forgotten when PyTorch's caching
// allocator hands the block out again, and so that copies touch no page that nobody wrote. One for the process.
// Thread-safe. Addresses and sizes in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace oomtrace::simgpu {

// Host-to-device copies and fills above this size carry no bytes: weights and data sets would cost real memory.
inline constexpr size_t kLargestRealCopy = size_t{1} << 20;

class Contents {
 public:
  static Contents& Get();

  // Host to device. Above kLargestRealCopy the destination reads as zeros afterwards.
  void Upload(void* device, const void* host, size_t bytes);
  // Device to host: exactly what the device range reads as.
  void Download(void* host, const void* device, size_t bytes);
  // Device to device, overlap allowed.
  void Copy(void* to, const void* from, size_t bytes);
  // As cudaMemset: a value other than 0 is written up to kLargestRealCopy, else the range reads as zeros.
  void Fill(void* device, int value, size_t bytes);
  // The range reads as zeros from now on.
  void Forget(const void* device, size_t bytes);
  // The range is gone (unmapped): nothing is touched.
  void Drop(const void* device, size_t bytes);
  // Whether the host wrote any byte of the range.
  bool Written(const void* device, size_t bytes) const;

 private:
  using Intervals = std::map<uintptr_t, uintptr_t>;  // begin -> end, disjoint

  void Mark(uintptr_t begin, uintptr_t end);
  void Erase(uintptr_t begin, uintptr_t end, bool zero);
  Intervals Overlap(uintptr_t begin, uintptr_t end) const;

  mutable std::mutex mutex_;
  Intervals written_;
};

}  // namespace oomtrace::simgpu
