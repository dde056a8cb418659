// What became of the tensors of one place: of those whose fate is known, what says it of those whose is not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// A place: the frames, the layout, the autograd node and the phase. Layers that run the same lines share it.
struct SiteKey {
  uint32_t site = 0;  // StackFacts::site
  uint32_t layout = 0;
  uint32_t node = 0;
  PhaseKind phase = PhaseKind::kSetUp;

  template <typename H>
  friend H AbslHashValue(H hash, const SiteKey& key) {
    return H::combine(std::move(hash), key.site, key.layout, key.node, key.phase);
  }
  friend bool operator==(const SiteKey&, const SiteKey&) = default;
};

class SiteHistory {
 public:
  void Add(const SiteKey& key, Category category);

  // What most of the tensors of this place were. A line makes tensors of several layouts with several fates: without
  // one of the same layout there is no answer.
  std::optional<Category> Usual(const SiteKey& key) const;

 private:
  using Counts = std::array<int64_t, kCategories>;

  absl::flat_hash_map<SiteKey, Counts> counts_;
};

}  // namespace oomtrace
