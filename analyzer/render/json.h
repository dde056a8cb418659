// A report as JSON: every field of report.proto present, snake_case names, integers as numbers, in the proto's order.
#pragma once

#include <string>

#include "job.pb.h"
#include "report.pb.h"

namespace oomtrace {

std::string RenderJson(const report::Report& report);

// The same with `job` in front of the report's fields.
std::string RenderJson(const report::Report& report, const report::Job& job);

}  // namespace oomtrace
