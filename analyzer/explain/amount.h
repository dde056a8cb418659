// A number of bytes as a message prints it: "786.00 MiB" is one of a range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace oomtrace {

struct Amount {
  int64_t bytes = 0;
  int64_t rounding = 0;  // the true figure lies within so many bytes of it; 0: exact

  int64_t most() const { return bytes + rounding; }
  int64_t least() const { return bytes - rounding; }
};

// "786.00 MiB", "0 bytes", "16.0 KiB", "1.5 GB". Units with an i, and PyTorch's bare ones, count in 1024; `decimal`: GB
// and MB in 1000. Nothing for what is no number, is negative or exceeds 2^53 bytes: NVML's "cannot tell" (2^64 - 1)
// does.
std::optional<Amount> ParseAmount(std::string_view number, std::string_view unit, bool decimal = false);

}  // namespace oomtrace
