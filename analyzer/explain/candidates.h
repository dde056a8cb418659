// Which tensors have the size that PyTorch's caching allocator was refused. Arithmetic, no proof: a request of 786 MiB
// is what logits of 8 x 1024 tokens over 50304 words in 16 bits ask for, and what other tensors ask for, too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/explain/amount.h"

namespace oomtrace {

// What tensor made the allocator ask the device for `wanted` bytes: above 10 MiB it asks for the next multiple of 2
// MiB, below for 20 MiB, up to 1 MiB for 2 MiB (c10/cuda/CUDACachingAllocator.cpp: kMinLargeAlloc, kRoundLarge,
// kLargeBuffer, kSmallSize, kSmallBuffer). Bytes, `above` exclusive and `most` inclusive.
struct TensorSize {
  int64_t above = 0;
  int64_t most = 0;
};
TensorSize TensorSizeOf(const Amount& wanted);

// The most telling first, at most `most` of them; nothing where the size is printed too coarsely (GiB) or is that of
// any small tensor.
std::vector<std::string> TensorCandidates(const Amount& wanted, size_t most);

}  // namespace oomtrace
