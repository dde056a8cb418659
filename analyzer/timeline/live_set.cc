#include "analyzer/timeline/live_set.h"

#include <iterator>

namespace oomtrace {

std::vector<int64_t> LiveSet::Add(uint64_t address, int64_t bytes, int64_t index) {
  std::vector<int64_t> removed;
  auto next = blocks_.lower_bound(address);
  if (next != blocks_.begin()) {
    const auto before = std::prev(next);
    if (address - before->first < static_cast<uint64_t>(before->second.bytes)) next = before;
  }
  while (next != blocks_.end() && (next->first <= address || next->first - address < static_cast<uint64_t>(bytes))) {
    removed.push_back(next->second.index);
    bytes_ -= next->second.bytes;
    next = blocks_.erase(next);
  }
  blocks_.emplace_hint(next, address, Block{bytes, index});
  bytes_ += bytes;
  return removed;
}

int64_t LiveSet::Remove(uint64_t address) {
  const auto block = blocks_.find(address);
  if (block == blocks_.end()) return -1;
  const int64_t index = block->second.index;
  bytes_ -= block->second.bytes;
  blocks_.erase(block);
  return index;
}

int64_t LiveSet::Find(uint64_t address) const {
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) return -1;
  --block;
  const uint64_t inside = address - block->first;
  // A block of no bytes still has an address of its own.
  return inside == 0 || inside < static_cast<uint64_t>(block->second.bytes) ? block->second.index : -1;
}

}  // namespace oomtrace
