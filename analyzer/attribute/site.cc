#include "analyzer/attribute/site.h"

#include <algorithm>

namespace oomtrace {

void SiteHistory::Add(const SiteKey& key, Category category) { ++counts_[key][static_cast<size_t>(category)]; }

std::optional<Category> SiteHistory::Usual(const SiteKey& key) const {
  const auto counts = counts_.find(key);
  if (counts == counts_.end()) return std::nullopt;
  const auto most = std::max_element(counts->second.begin(), counts->second.end());
  return static_cast<Category>(most - counts->second.begin());
}

}  // namespace oomtrace
