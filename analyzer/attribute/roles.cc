#include "analyzer/attribute/roles.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

int Rank(Category category) {
  switch (category) {
    case Category::kParameter:
      return 3;
    case Category::kOptimizerState:
      return 2;
    case Category::kGradient:
      return 1;
    default:
      return 0;
  }
}

std::string LayoutKey(const Layout& layout, bool transposed) {
  std::vector<int64_t> shape = layout.shape;
  if (transposed) std::reverse(shape.begin(), shape.end());
  return absl::StrCat(layout.dtype, "(", absl::StrJoin(shape, ","), ")");
}

}  // namespace

void ApplyRoles(Timeline* timeline) {
  for (const Role& role : timeline->roles) {
    if (role.tensor < 0) continue;
    Tensor& tensor = timeline->tensors[static_cast<size_t>(role.tensor)];
    // A storage is never larger than its block: the address was used again between the owner's look and its word.
    if (role.bytes > tensor.bytes || Rank(role.category) <= Rank(tensor.category)) continue;
    tensor.category = role.category;
    tensor.name = WithoutWrappers(role.name);
    tensor.module = ModuleOfParameter(tensor.name.str());
  }
  for (const HolderInfo& holder : timeline->holders) {
    if (holder.tensor >= 0) timeline->tensors[static_cast<size_t>(holder.tensor)].holder = holder.path;
  }
}

ParameterLayouts::ParameterLayouts(const Timeline& timeline) {
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.category != Category::kParameter) continue;
    if (!timeline.layouts[tensor.layout].has_shape()) {
      sizes_.insert(tensor.bytes);
    } else {
      known_.insert(LayoutKey(timeline.layouts[tensor.layout], false));
    }
  }
}

bool ParameterLayouts::Contains(const Timeline& timeline, const Tensor& tensor) const {
  if (!timeline.layouts[tensor.layout].has_shape()) return sizes_.contains(tensor.bytes);
  const Layout& wanted = timeline.layouts[tensor.layout];
  return known_.contains(LayoutKey(wanted, false)) || known_.contains(LayoutKey(wanted, true));
}

std::string ModuleOfParameter(const std::string& name) {
  const std::string parameter = name.substr(0, name.find(':'));
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? "" : parameter.substr(0, dot);
}

}  // namespace oomtrace
