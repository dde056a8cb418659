// The largest value that fits, by trials.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace oomtrace {

// Whether the value fits. An error ends the search.
using Probe = std::function<absl::StatusOr<bool>(int64_t)>;

// By value, whether it fits.
using Tried = std::map<int64_t, bool>;

// Searches first..last (1 <= first). Begins in the middle of the range's powers of two, since in a training that keeps
// its effective batch both ends are dear: the smallest micro-batch needs the most of them, the largest may be more than
// the data holds. Doubles or halves until one value fits and one does not, then halves the gap. What it found was
// tried, and so was the value above it, unless that is beyond `last`. The value above that one is tried, too: what fits
// there is not monotone, and the search goes on. After an error `tried` holds what was known.
absl::Status SearchLargest(int64_t first, int64_t last, const Probe& probe, Tried& tried);

// The largest that fits; nothing where none does.
std::optional<int64_t> LargestThatFits(const Tried& tried);

// The largest that fits below all that do not: what is safe where the trials are not monotone.
std::optional<int64_t> LargestBelowFailure(const Tried& tried);

// A value that does not fit below one that does; nothing where the trials turn but once.
std::optional<std::pair<int64_t, int64_t>> NotMonotone(const Tried& tried);

}  // namespace oomtrace
