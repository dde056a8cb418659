// Element types by their c10::ScalarType number: torch/headeronly/core/ScalarType.h of torch 2.11 (numbers are only
// ever appended there).
#pragma once

#include <cstdint>
#include <string>

namespace oomtrace {

// As PyTorch spells it, without "torch."; "dtype 99" for a number that is not known.
std::string DtypeName(int32_t scalar_type);

// Bits of one element in memory; 0 for a number that is not known.
int64_t DtypeBits(int32_t scalar_type);

}  // namespace oomtrace
