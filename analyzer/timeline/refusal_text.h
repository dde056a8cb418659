// What the words of PyTorch's out-of-memory exceptions say that no call shows.
#pragma once

#include <cstdint>
#include <string_view>

namespace oomtrace {

// Bytes that the process may have by its own rule (torch.cuda.set_per_process_memory_fraction), to the two decimals
// that the text has; 0 where it names no limit, or one that is the whole device.
int64_t LimitIn(std::string_view text);

// "…, with 5.00 GiB allocated in private pools (e.g., CUDA Graphs), …": the bytes, to two decimals.
// CUDACachingAllocator adds up the free blocks of these pools there, and leaves the words out where there are none. -1
// where the text does not count what is allocated at all.
int64_t PrivatePoolsIn(std::string_view text);

}  // namespace oomtrace
