#include "analyzer/attribute/site.h"

#include <algorithm>

namespace oomtrace {
namespace {

SiteKey WithoutLayout(SiteKey key) {
  key.layout = 0;
  return key;
}

}  // namespace

void SiteHistory::Add(const SiteKey& key, Category category) {
  ++exact_[key][static_cast<size_t>(category)];
  ++any_layout_[WithoutLayout(key)][static_cast<size_t>(category)];
}

std::optional<Category> SiteHistory::Usual(const SiteKey& key) const {
  if (const auto exact = exact_.find(key); exact != exact_.end()) {
    const auto most = std::max_element(exact->second.begin(), exact->second.end());
    return static_cast<Category>(most - exact->second.begin());
  }
  const auto any = any_layout_.find(WithoutLayout(key));
  if (any == any_layout_.end()) return std::nullopt;
  const auto positive = [](int64_t count) { return count > 0; };
  if (std::count_if(any->second.begin(), any->second.end(), positive) != 1) return std::nullopt;
  return static_cast<Category>(std::find_if(any->second.begin(), any->second.end(), positive) - any->second.begin());
}

}  // namespace oomtrace
