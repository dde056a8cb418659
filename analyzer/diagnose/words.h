// Numbers as a person reads them, for evidence, fixes and the text report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

std::string Bytes(int64_t bytes);                                                // "6.14 GiB", "512 B"
std::string Shape(const std::vector<int64_t>& shape, const std::string& dtype);  // "(65536, 50304) bfloat16"
std::string Described(const Layout& layout, int64_t bytes);  // its shape, "one of 3.52 MiB" where that is not known
std::string Percent(double share);                           // "12 %", "0.4 %"
std::string Container(const std::string& holder);  // "samples[778]" → "samples": what grows, not its latest element
std::string Count(int64_t n, const std::string& noun);  // "1 step", "2 steps", "2 batches"
std::string During(const std::string& phase);           // of PhaseName: "in forward", "between steps", "during set-up"

}  // namespace oomtrace
