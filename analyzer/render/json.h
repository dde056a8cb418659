// A report as JSON: every field of report.proto present, snake_case names, integers as numbers, in the proto's order.
#pragma once

#include <string>

#include "report.pb.h"

namespace oomtrace {

std::string RenderJson(const report::Report& report);

}  // namespace oomtrace
