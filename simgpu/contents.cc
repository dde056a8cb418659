#include "simgpu/contents.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "simgpu/address_space.h"

namespace oomtrace::simgpu {
namespace {

uintptr_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

}  // namespace

Contents& Contents::Get() {
  static Contents* contents = new Contents;
  return *contents;
}

void Contents::Mark(uintptr_t begin, uintptr_t end) {
  auto it = written_.upper_bound(begin);
  if (it != written_.begin() && std::prev(it)->second >= begin) --it;
  while (it != written_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = written_.erase(it);
  }
  written_[begin] = end;
}

void Contents::Erase(uintptr_t begin, uintptr_t end, bool zero) {
  auto it = written_.upper_bound(begin);
  if (it != written_.begin() && std::prev(it)->second > begin) --it;
  while (it != written_.end() && it->first < end) {
    const auto [low, high] = *it;
    const uintptr_t from = std::max(low, begin);
    const uintptr_t to = std::min(high, end);
    if (zero) ZeroHostMemory(reinterpret_cast<void*>(from), to - from);
    it = written_.erase(it);
    if (low < from) written_[low] = from;
    if (to < high) it = written_.emplace(to, high).first;
  }
}

Contents::Intervals Contents::Overlap(uintptr_t begin, uintptr_t end) const {
  Intervals found;
  auto it = written_.upper_bound(begin);
  if (it != written_.begin() && std::prev(it)->second > begin) --it;
  for (; it != written_.end() && it->first < end; ++it) {
    found.emplace(std::max(it->first, begin), std::min(it->second, end));
  }
  return found;
}

void Contents::Upload(void* device, const void* host, size_t bytes) {
  std::lock_guard lock(mutex_);
  const uintptr_t begin = Address(device);
  if (bytes > kLargestRealCopy) {
    Erase(begin, begin + bytes, /*zero=*/true);
    return;
  }
  std::memcpy(device, host, bytes);
  Mark(begin, begin + bytes);
}

void Contents::Download(void* host, const void* device, size_t bytes) {
  std::lock_guard lock(mutex_);
  const uintptr_t begin = Address(device);
  ZeroHostMemory(host, bytes);
  for (const auto& [low, high] : Overlap(begin, begin + bytes)) {
    std::memcpy(static_cast<char*>(host) + (low - begin), reinterpret_cast<const void*>(low), high - low);
  }
}

void Contents::Copy(void* to, const void* from, size_t bytes) {
  std::lock_guard lock(mutex_);
  const uintptr_t source = Address(from);
  const uintptr_t target = Address(to);
  // The pieces are saved first: source and destination may overlap.
  std::vector<std::pair<uintptr_t, std::vector<char>>> pieces;
  for (const auto& [low, high] : Overlap(source, source + bytes)) {
    const char* data = reinterpret_cast<const char*>(low);
    pieces.emplace_back(low - source, std::vector<char>(data, data + (high - low)));
  }
  Erase(target, target + bytes, /*zero=*/true);
  for (const auto& [offset, data] : pieces) {
    std::memcpy(reinterpret_cast<void*>(target + offset), data.data(), data.size());
    Mark(target + offset, target + offset + data.size());
  }
}

void Contents::Fill(void* device, int value, size_t bytes) {
  std::lock_guard lock(mutex_);
  const uintptr_t begin = Address(device);
  if ((value & 0xff) == 0 || bytes > kLargestRealCopy) {
    Erase(begin, begin + bytes, /*zero=*/true);
    return;
  }
  std::memset(device, value, bytes);
  Mark(begin, begin + bytes);
}

void Contents::Forget(const void* device, size_t bytes) {
  std::lock_guard lock(mutex_);
  Erase(Address(device), Address(device) + bytes, /*zero=*/true);
}

void Contents::Drop(const void* device, size_t bytes) {
  std::lock_guard lock(mutex_);
  Erase(Address(device), Address(device) + bytes, /*zero=*/false);
}

bool Contents::Written(const void* device, size_t bytes) const {
  std::lock_guard lock(mutex_);
  return !Overlap(Address(device), Address(device) + bytes).empty();
}

}  // namespace oomtrace::simgpu
