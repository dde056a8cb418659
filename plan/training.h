// A training played through: parameters, an evaluation where there is one, steps with accumulation, the optimizer.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "plan/memory.h"
#include "plan/model.h"

namespace oomtrace::plan {

struct Estimate {
  int64_t parameters = 0;  // elements
  int64_t peak_allocated = 0;
  int64_t peak_reserved = 0;  // by PyTorch's allocator, on a card of any size
  ByKind at_peak = {};
  bool refused = false;  // the capacity was not enough
  int64_t refused_bytes = 0;
  Kind refused_kind = Kind::kTemporary;
};

// `capacity`: bytes that the card gives to PyTorch's allocator, kUnlimited for all it wants.
Estimate Play(const Model& model, const Training& training, const Card& card, int64_t capacity);

}  // namespace oomtrace::plan
