// Which library an address of code belongs to, from /proc/self/maps: a table that is read again when an address is not
// in it (a library loaded since). Any thread. Device allocations are rare enough to take a lock for.
#pragma once

#include <cstdint>

#include "interpose/record/facts.h"
#include "interpose/record/recent_table.h"
#include "interpose/record/spin_lock.h"

namespace oomtrace {

struct LibraryFound {
  uint32_t id = 0;                 // Library.id, 0 where the address is in no file
  bool caching_allocator = false;  // the library of PyTorch's device allocator
  uint64_t offset = 0;             // of the address in the library's file
};

struct CodeFound {
  CodePlace place;           // place.library is 0 where the address is in no file
  uintptr_t base = 0;        // where the library's file begins in memory: its ELF header
  bool interpreter = false;  // Python itself
};

class LibraryMap {
 public:
  static constexpr uint32_t kMost = 4096;  // executable mappings; PyTorch with CUDA has about 150

  LibraryFound Find(const void* code, Facts& facts);
  CodeFound FindCode(uintptr_t code, Facts& facts);

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    uint64_t file_offset;
    uintptr_t base;
    LibraryFound library;
    bool interpreter;
  };

  const Range* Search(uintptr_t address) const;
  const Range* SearchTwice(uintptr_t address, Facts& facts);
  void Refresh(Facts& facts);
  void AddLine(const char* line, const char* end, Facts& facts);

  RecentTable<256> recent_offsets_;  // below 4 GiB, by return address
  RecentTable<256> recent_;  // id and the flag, by return address: where each tensor is a device call, this is hot
  SpinLock lock_;
  uint32_t count_;
  uintptr_t base_;  // of the file whose lines are being read
  Range ranges_[kMost];
};

}  // namespace oomtrace
