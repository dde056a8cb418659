// The device memory of one training process while a plan is played through: PyTorch's caching allocator (its model in
// analyzer/replay), what each block holds, and the moment at which most was allocated.
//
// Sizes are bytes. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "analyzer/replay/caching_allocator.h"

namespace oomtrace::plan {

enum class Kind {
  kParameter,
  kGradient,
  kOptimizer,
  kWeightCopy,  // weights in the lower precision, cast by autocast
  kActivation,  // kept for the backward pass, and what passes between the layers
  kLogits,      // tokens x vocabulary: logits, log-probabilities, their gradients
  kTemporary,   // lives within one operation
  kWorkspace,   // of cuBLAS
  kBatch,       // token ids
  kCount,
};
using ByKind = std::array<int64_t, static_cast<size_t>(Kind::kCount)>;

class Memory {
 public:
  explicit Memory(const AllocatorConfig& config) : allocator_(config) {}

  CachingAllocator::Handle Allocate(int64_t bytes, Kind kind);
  void Free(CachingAllocator::Handle handle, int64_t bytes, Kind kind);

  // A request was refused: from then on the figures mean nothing.
  bool refused() const { return refused_ >= 0; }
  int64_t refused_bytes() const { return refused_; }
  Kind refused_kind() const { return refused_kind_; }

  int64_t allocated() const { return allocator_.allocated(); }
  int64_t peak_allocated() const { return allocator_.peak_allocated(); }
  int64_t peak_reserved() const { return allocator_.peak_reserved(); }
  // What was live at the highest moment, as requested: without the allocator's rounding to 512 bytes.
  const ByKind& at_peak() const { return at_peak_; }

 private:
  CachingAllocator allocator_;
  ByKind live_ = {};
  ByKind at_peak_ = {};
  int64_t peak_ = 0;
  int64_t refused_ = -1;
  Kind refused_kind_ = Kind::kTemporary;
};

// A block of memory that goes back when its last owner is gone, as a tensor's storage does.
class Block {
 public:
  Block(Memory& memory, int64_t bytes, Kind kind)
      : memory_(memory), bytes_(bytes), kind_(kind), handle_(memory.Allocate(bytes, kind)) {}
  ~Block() { memory_.Free(handle_, bytes_, kind_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

 private:
  Memory& memory_;
  int64_t bytes_;
  Kind kind_;
  CachingAllocator::Handle handle_;
};
using Storage = std::shared_ptr<Block>;

}  // namespace oomtrace::plan
