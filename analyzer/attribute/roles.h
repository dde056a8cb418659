// The exact part of the evidence: what owners said.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Sets category and name of the tensors that a role was said of, and the holders. Where several were, the longest-lived
// purpose wins: a parameter, then an optimizer's state, then a gradient.
void ApplyRoles(Timeline* timeline);

// Shapes and element types of the parameters: what a gradient or a state of theirs looks like.
class ParameterLayouts {
 public:
  explicit ParameterLayouts(const Timeline& timeline);

  // Whether the tensor's layout is that of a parameter, as it is or transposed; where no layout is known of it, whether
  // its size is.
  bool Contains(const Timeline& timeline, const Tensor& tensor) const;

 private:
  absl::flat_hash_set<std::string> known_;
  absl::flat_hash_set<int64_t> sizes_;  // of parameters without a layout
};

// "transformer.h.0.attn.c_attn.weight" → "transformer.h.0.attn.c_attn"; for a state, the same of its parameter.
std::string ModuleOfParameter(const std::string& name);

}  // namespace oomtrace
