// A model of PyTorch's CUDA caching allocator: the same requests in the same order ask the device for the same
// segments.
//
// Follows c10/cuda/CUDACachingAllocator.cpp of torch 2.11: 512-byte rounding; requests up to 1 MiB from 2 MiB segments,
// below 10 MiB from 20 MiB segments, above from segments of their own rounded up to 2 MiB; best fit by (size, address);
// splitting, merging, release of cached segments and one retry when the device refuses; expandable segments.
// A request is served from its own free list alone, which the caller names: one for each stream and private pool. Those
// of private pools (MemPool, CUDA graphs) are not given back to make room. One device. Blocks that other streams use
// still (record_stream) count as free when they are freed.
// garbage_collection_threshold only acts under a memory fraction and is not modelled. Sizes are bytes. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace oomtrace {

inline constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

struct AllocatorConfig {
  bool expandable_segments = false;
  int64_t max_split_size = kUnlimited;
  int64_t roundup_power2_divisions = 0;  // 0: off
  int64_t capacity = kUnlimited;         // bytes that the device will give to this allocator
};

// Reads "expandable_segments:True,max_split_size_mb:128,roundup_power2_divisions:4", as PYTORCH_ALLOC_CONF has it.
// Unknown settings are skipped.
AllocatorConfig ParseAllocatorConfig(const std::string& setting);

// Bytes of the segment that serves a request of `size` bytes: what PyTorch's message calls "Tried to allocate".
int64_t SegmentSize(int64_t size);

class CachingAllocator {
 public:
  using Handle = void*;

  explicit CachingAllocator(const AllocatorConfig& config) : config_(config) {}
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // A block of at least `bytes`, or null when the device is full even after every unused segment went back to it.
  Handle Allocate(int64_t bytes, uint32_t list = 0);
  void Free(Handle handle);
  // Gives the unused segments back: of all lists that are not a private pool's.
  void EmptyCache();

  // The list is that of a private pool.
  void SetPrivate(uint32_t list) { lists_[list].is_private = true; }
  // The private pool's owner is gone: its unused segments go back.
  void ReleasePrivate(uint32_t list);

  // The addresses that the next segments of these sizes had when they were recorded: among free blocks of one size
  // the lower address wins, so replaying a trace needs them. Without, segments are laid out in order of request.
  void PlaceNextSegment(int64_t bytes, uint64_t address) { placements_.push_back({bytes, address}); }

  int64_t allocated() const { return allocated_; }
  int64_t reserved() const { return reserved_; }
  int64_t peak_allocated() const { return peak_allocated_; }
  int64_t peak_reserved() const { return peak_reserved_; }
  // What was asked of the device and granted, in order; with expandable segments each mapped page of 2 or 20 MiB.
  const std::vector<int64_t>& segments() const { return segments_; }

 private:
  struct Pool;
  struct Block {
    Pool* pool = nullptr;
    uint64_t address = 0;
    int64_t size = 0;
    Block* previous = nullptr;  // neighbours in the same segment
    Block* next = nullptr;
    bool allocated = false;
    bool expandable = false;
    bool mapped = true;
  };
  struct BySize {
    bool operator()(const Block* a, const Block* b) const {
      return a->size != b->size ? a->size < b->size : a->address < b->address;
    }
  };
  struct ByAddress {
    bool operator()(const Block* a, const Block* b) const { return a->address < b->address; }
  };
  struct Pool {
    bool small = false;
    std::set<Block*, BySize> free;
    std::set<Block*, ByAddress> unmapped;
  };
  struct List {
    Pool small{.small = true, .free = {}, .unmapped = {}};
    Pool large;
    bool is_private = false;
  };
  struct Placement {
    int64_t bytes;
    uint64_t address;
  };

  int64_t Round(int64_t bytes) const;
  int64_t PageOf(const Pool& pool) const;
  Block* NewBlock(Pool* pool, uint64_t address, int64_t size);
  void DeleteBlock(Block* block);
  uint64_t NextAddress(int64_t bytes);
  bool Grant(int64_t bytes);
  Block* FindFree(Pool& pool, int64_t size);
  Block* NewSegment(Pool& pool, int64_t size);
  Block* NewExpandable(Pool& pool, int64_t size);
  Block* FindExpandable(Pool& pool, int64_t size);
  bool Map(Block* block, int64_t size);
  void Unmap(Block* block);
  bool ShouldSplit(const Block& block, int64_t size) const;
  Block* SplitOff(Block* block, int64_t size);
  void Merge(Block* into, Block* neighbour);
  bool ReleaseOversized(Pool& large, int64_t size);
  void GiveBack(Pool& pool);

  AllocatorConfig config_;
  std::map<uint32_t, List> lists_;
  std::deque<Block> storage_;
  std::vector<Block*> recycled_;
  std::deque<Placement> placements_;
  uint64_t next_address_ = uint64_t{1} << 46;  // above any address that a recorded segment had
  int64_t allocated_ = 0;
  int64_t reserved_ = 0;
  int64_t peak_allocated_ = 0;
  int64_t peak_reserved_ = 0;
  std::vector<int64_t> segments_;
};

}  // namespace oomtrace
