// Which block lives where, on one device, at the present moment of the stream.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"

namespace oomtrace {

class LiveSet {
 public:
  struct Block {
    int64_t bytes = 0;
    int64_t index = 0;  // the caller's: of a tensor or a device allocation
  };

  // Adds a block. Blocks that it overlaps cannot live any more, their frees were lost: they are removed and their
  // indices returned.
  std::vector<int64_t> Add(uint64_t address, int64_t bytes, int64_t index);

  // Removes the block that begins at `address`; returns its index, -1 where there is none.
  int64_t Remove(uint64_t address);

  // Index of the block that holds `address`, -1 where there is none.
  int64_t Find(uint64_t address) const;

  int64_t bytes() const { return bytes_; }

 private:
  absl::btree_map<uint64_t, Block> blocks_;
  int64_t bytes_ = 0;
};

}  // namespace oomtrace
