// A line of the dead weight in words: what it is, what is known of its use, what to edit.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/diagnose/dead_weight.h"
#include "report.pb.h"

namespace oomtrace {

// All fields but the savings.
void DescribeWaste(const Facts& facts, const DeadWeight& found, const WasteGroup& group, report::Waste& out);

std::string Milliseconds(int64_t ns);  // "12.3 ms"

}  // namespace oomtrace
