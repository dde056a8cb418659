#include "plan/memory.h"

namespace oomtrace::plan {

CachingAllocator::Handle Memory::Allocate(int64_t bytes, Kind kind) {
  if (refused() || bytes == 0) return nullptr;
  const CachingAllocator::Handle handle = allocator_.Allocate(bytes);
  if (handle == nullptr) {
    refused_ = bytes;
    refused_kind_ = kind;
    return nullptr;
  }
  live_[static_cast<size_t>(kind)] += bytes;
  if (allocator_.allocated() > peak_) {
    peak_ = allocator_.allocated();
    at_peak_ = live_;
  }
  return handle;
}

void Memory::Free(CachingAllocator::Handle handle, int64_t bytes, Kind kind) {
  if (handle == nullptr) return;
  live_[static_cast<size_t>(kind)] -= bytes;
  allocator_.Free(handle);
}

}  // namespace oomtrace::plan
