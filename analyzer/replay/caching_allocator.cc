#include "analyzer/replay/caching_allocator.h"

#include <algorithm>
#include <bit>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kMinBlock = 512;
constexpr int64_t kSmallRequest = kMiB;  // up to here from the small pool
constexpr int64_t kSmallSegment = 2 * kMiB;
constexpr int64_t kLargeSegment = 20 * kMiB;
constexpr int64_t kOwnSegment = 10 * kMiB;  // from here a segment of its own
constexpr int64_t kOwnSegmentRound = 2 * kMiB;
// Virtual address space of one expandable segment where the capacity is not known.
constexpr int64_t kDefaultAddressSpace = int64_t{1} << 40;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

int64_t SegmentSize(int64_t size) {
  if (size <= kSmallRequest) return kSmallSegment;
  return size < kOwnSegment ? kLargeSegment : RoundUp(size, kOwnSegmentRound);
}

AllocatorConfig ParseAllocatorConfig(const std::string& setting) {
  AllocatorConfig config;
  for (absl::string_view item : absl::StrSplit(setting, ',')) {
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(item, absl::MaxSplits(':', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(pair.first);
    const absl::string_view value = absl::StripAsciiWhitespace(pair.second);
    int64_t number = 0;
    if (name == "expandable_segments") {
      config.expandable_segments = value == "True" || value == "true" || value == "1";
    } else if (name == "max_split_size_mb" && absl::SimpleAtoi(value, &number) && number > 0) {
      config.max_split_size = number * kMiB;
    } else if (name == "roundup_power2_divisions" && absl::SimpleAtoi(value, &number) && number > 1) {
      config.roundup_power2_divisions = number;
    }
  }
  return config;
}

int64_t CachingAllocator::Round(int64_t bytes) const {
  if (bytes < kMinBlock) return kMinBlock;
  const int64_t divisions = config_.roundup_power2_divisions;
  if (divisions > 1 && bytes > kMinBlock * divisions) {
    const int64_t below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes)));
    if (below == bytes) return bytes;
    return RoundUp(bytes, std::max<int64_t>(below / divisions, 1));
  }
  return RoundUp(bytes, kMinBlock);
}

int64_t CachingAllocator::PageOf(const Pool& pool) const { return pool.small ? kSmallSegment : kLargeSegment; }

CachingAllocator::Block* CachingAllocator::NewBlock(Pool* pool, uint64_t address, int64_t size) {
  Block* block;
  if (recycled_.empty()) {
    block = &storage_.emplace_back();
  } else {
    block = recycled_.back();
    recycled_.pop_back();
    *block = Block();
  }
  block->pool = pool;
  block->address = address;
  block->size = size;
  return block;
}

void CachingAllocator::DeleteBlock(Block* block) { recycled_.push_back(block); }

uint64_t CachingAllocator::NextAddress(int64_t bytes) {
  if (!placements_.empty() && placements_.front().bytes == bytes) {
    const uint64_t address = placements_.front().address;
    placements_.pop_front();
    return address;
  }
  const uint64_t address = next_address_;
  next_address_ += static_cast<uint64_t>(RoundUp(bytes, kOwnSegmentRound));
  return address;
}

bool CachingAllocator::Grant(int64_t bytes) {
  if (bytes > config_.capacity - reserved_) return false;
  reserved_ += bytes;
  peak_reserved_ = std::max(peak_reserved_, reserved_);
  return true;
}

CachingAllocator::Handle CachingAllocator::Allocate(int64_t bytes, uint32_t list) {
  const int64_t size = Round(bytes);
  List& own = lists_[list];
  Pool& pool = size <= kSmallRequest ? own.small : own.large;
  const auto ask_device = [&] {
    return config_.expandable_segments ? NewExpandable(pool, size) : NewSegment(pool, size);
  };
  Block* block = FindFree(pool, size);
  if (!block) block = ask_device();
  if (!block && ReleaseOversized(own.large, size)) block = ask_device();
  if (!block) {
    EmptyCache();
    block = ask_device();
  }
  if (!block) return nullptr;
  if (ShouldSplit(*block, size)) pool.free.insert(SplitOff(block, size));
  block->allocated = true;
  allocated_ += block->size;
  peak_allocated_ = std::max(peak_allocated_, allocated_);
  return block;
}

void CachingAllocator::Free(Handle handle) {
  Block* block = static_cast<Block*>(handle);
  block->allocated = false;
  allocated_ -= block->size;
  Merge(block, block->previous);
  Merge(block, block->next);
  block->pool->free.insert(block);
}

CachingAllocator::Block* CachingAllocator::FindFree(Pool& pool, int64_t size) {
  Block key;
  key.size = size;
  auto it = pool.free.lower_bound(&key);
  if (it == pool.free.end()) return nullptr;
  if ((*it)->expandable) {
    // A free block at the end of what is mapped counts as large as it can grow, so a later one may fit better.
    const auto can_grow_to = [](const Block* b) { return b->size + (b->next && !b->next->mapped ? b->next->size : 0); };
    for (auto next = std::next(it); next != pool.free.end() && can_grow_to(*next) < can_grow_to(*it); ++next) it = next;
  }
  Block* block = *it;
  if (size < config_.max_split_size && block->size >= config_.max_split_size) return nullptr;
  if (size >= config_.max_split_size && block->size >= size + kLargeSegment) return nullptr;
  pool.free.erase(it);
  return block;
}

CachingAllocator::Block* CachingAllocator::NewSegment(Pool& pool, int64_t size) {
  const int64_t bytes = SegmentSize(size);
  if (!Grant(bytes)) return nullptr;
  segments_.push_back(bytes);
  return NewBlock(&pool, NextAddress(bytes), bytes);
}

CachingAllocator::Block* CachingAllocator::FindExpandable(Pool& pool, int64_t size) {
  const auto usable = [](const Block* b) { return b && !b->allocated; };
  for (Block* unmapped : pool.unmapped) {
    Block* first = usable(unmapped->previous) ? unmapped->previous : unmapped;
    int64_t room = 0;
    for (Block* b = first; room < size && usable(b); b = b->next) room += b->size;
    if (room >= size) return first;
  }
  // PyTorch reserves one and an eighth of the card's memory as addresses.
  const int64_t space = config_.capacity == kUnlimited ? kDefaultAddressSpace
                                                       : RoundUp(config_.capacity + config_.capacity / 8, PageOf(pool));
  Block* block = NewBlock(&pool, NextAddress(std::max(space, RoundUp(size, PageOf(pool)))), std::max(space, size));
  block->expandable = true;
  block->mapped = false;
  pool.unmapped.insert(block);
  return block;
}

CachingAllocator::Block* CachingAllocator::NewExpandable(Pool& pool, int64_t size) {
  Block* block = FindExpandable(pool, size);
  if (!block->mapped && !Map(block, std::min(block->size, size))) return nullptr;
  while (block->size < size) {
    Block* more = block->next;
    if (!Map(more, std::min(size - block->size, more->size))) return nullptr;
    block = more;
  }
  pool.free.erase(block);
  return block;
}

bool CachingAllocator::Map(Block* block, int64_t size) {
  const int64_t page = PageOf(*block->pool);
  const int64_t bytes = std::min(RoundUp(size, page), block->size);
  if (!Grant(bytes)) return false;
  for (int64_t done = 0; done < bytes; done += page) segments_.push_back(page);
  Pool& pool = *block->pool;
  pool.unmapped.erase(block);
  block->mapped = true;
  if (bytes < block->size) {
    Block* rest = SplitOff(block, bytes);
    rest->mapped = false;
    pool.unmapped.insert(rest);
  }
  Merge(block, block->previous);
  Merge(block, block->next);
  pool.free.insert(block);
  return true;
}

void CachingAllocator::Unmap(Block* block) {
  Pool& pool = *block->pool;
  const int64_t page = PageOf(pool);
  // Pages are counted from the start of the address range, which is the first block of the chain.
  const Block* first = block;
  while (first->previous) first = first->previous;
  const int64_t offset = static_cast<int64_t>(block->address - first->address);
  const int64_t begin = RoundUp(offset, page) - offset;
  const int64_t end = (offset + block->size) / page * page - offset;
  if (end <= begin) return;
  pool.free.erase(block);
  if (begin > 0) {
    Block* inside = SplitOff(block, begin);
    pool.free.insert(block);
    block = inside;
  }
  const int64_t bytes = end - begin;
  if (bytes < block->size) pool.free.insert(SplitOff(block, bytes));
  reserved_ -= bytes;
  block->mapped = false;
  Merge(block, block->previous);
  Merge(block, block->next);
  pool.unmapped.insert(block);
}

bool CachingAllocator::ShouldSplit(const Block& block, int64_t size) const {
  const int64_t rest = block.size - size;
  if (block.pool->small || config_.expandable_segments) return rest >= kMinBlock;
  return size < config_.max_split_size && rest > kSmallRequest;
}

// Cuts `block` to `size`; the rest is a block of its own behind it, in no set yet.
CachingAllocator::Block* CachingAllocator::SplitOff(Block* block, int64_t size) {
  Block* rest = NewBlock(block->pool, block->address + static_cast<uint64_t>(size), block->size - size);
  rest->expandable = block->expandable;
  rest->mapped = block->mapped;
  rest->previous = block;
  rest->next = block->next;
  if (rest->next) rest->next->previous = rest;
  block->next = rest;
  block->size = size;
  return rest;
}

void CachingAllocator::Merge(Block* into, Block* neighbour) {
  if (!neighbour || neighbour->allocated || neighbour->mapped != into->mapped) return;
  if (neighbour->mapped) {
    into->pool->free.erase(neighbour);
  } else {
    into->pool->unmapped.erase(neighbour);
  }
  into->size += neighbour->size;
  if (into->previous == neighbour) {
    into->address = neighbour->address;
    into->previous = neighbour->previous;
    if (into->previous) into->previous->next = into;
  } else {
    into->next = neighbour->next;
    if (into->next) into->next->previous = into;
  }
  DeleteBlock(neighbour);
}

void CachingAllocator::GiveBack(Pool& pool) {
  const std::vector<Block*> cached(pool.free.begin(), pool.free.end());
  for (Block* block : cached) {
    if (block->expandable) {
      Unmap(block);
    } else if (!block->previous && !block->next) {
      pool.free.erase(block);
      reserved_ -= block->size;
      DeleteBlock(block);
    }
  }
}

void CachingAllocator::EmptyCache() {
  for (auto& [number, list] : lists_) {
    if (list.is_private) continue;
    GiveBack(list.large);
    GiveBack(list.small);
  }
}

void CachingAllocator::ReleasePrivate(uint32_t list) {
  GiveBack(lists_[list].large);
  GiveBack(lists_[list].small);
}

// With max_split_size, unused segments above it are given back first: the smallest that is large enough, else the
// largest ones until enough came together.
bool CachingAllocator::ReleaseOversized(Pool& large, int64_t size) {
  if (config_.max_split_size == kUnlimited) return false;
  const int64_t wanted = std::max(size, config_.max_split_size);
  Block key;
  key.size = wanted;
  const auto release = [&](Block* block) {
    large.free.erase(block);
    reserved_ -= block->size;
    DeleteBlock(block);
  };
  const auto whole = [](const Block* b) { return !b->previous && !b->next && !b->expandable; };
  if (auto it = large.free.lower_bound(&key); it != large.free.end() && whole(*it)) {
    release(*it);
    return true;
  }
  int64_t released = 0;
  while (released < wanted && !large.free.empty()) {
    Block* largest = *large.free.rbegin();
    if (largest->size < config_.max_split_size || !whole(largest)) break;
    released += largest->size;
    release(largest);
  }
  return released >= wanted;
}

}  // namespace oomtrace
