#include "cli/search.h"

#include <algorithm>

namespace oomtrace {
namespace {

int64_t MiddlePower(int64_t first, int64_t last) {
  int doublings = 0;
  while (first <= last >> (doublings + 1)) ++doublings;
  return first << (doublings / 2);
}

// The value to try next; nothing where the largest is proven.
std::optional<int64_t> Next(int64_t first, int64_t last, const Tried& tried) {
  if (tried.empty()) return MiddlePower(first, last);
  const std::optional<int64_t> fits = LargestThatFits(tried);
  if (!fits) {
    const int64_t fails = tried.begin()->first;
    return fails == first ? std::nullopt : std::optional(std::max(first, fails / 2));
  }
  const auto above = tried.upper_bound(*fits);
  if (above == tried.end()) return *fits == last ? std::nullopt : std::optional(std::min(last, *fits * 2));
  if (above->first - *fits > 1) return *fits + (above->first - *fits) / 2;
  const int64_t beyond = *fits + 2;
  return beyond > last || tried.contains(beyond) ? std::nullopt : std::optional(beyond);
}

}  // namespace

absl::Status SearchLargest(int64_t first, int64_t last, const Probe& probe, Tried& tried) {
  for (std::optional<int64_t> value = Next(first, last, tried); value; value = Next(first, last, tried)) {
    const absl::StatusOr<bool> fits = probe(*value);
    if (!fits.ok()) return fits.status();
    tried[*value] = *fits;
  }
  return absl::OkStatus();
}

std::optional<int64_t> LargestThatFits(const Tried& tried) {
  const auto found = std::find_if(tried.rbegin(), tried.rend(), [](const auto& one) { return one.second; });
  return found == tried.rend() ? std::nullopt : std::optional(found->first);
}

std::optional<int64_t> LargestBelowFailure(const Tried& tried) {
  std::optional<int64_t> largest;
  for (const auto& [value, fits] : tried) {
    if (!fits) return largest;
    largest = value;
  }
  return largest;
}

std::optional<std::pair<int64_t, int64_t>> NotMonotone(const Tried& tried) {
  std::optional<int64_t> failed;
  for (const auto& [value, fits] : tried) {
    if (fits && failed) return std::pair(*failed, value);
    if (!fits && !failed) failed = value;
  }
  return std::nullopt;
}

}  // namespace oomtrace
