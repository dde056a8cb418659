// What the GPU's own account adds to a report: which tensors lay idle at the peak, what no hook saw, what CUPTI took.
#pragma once

#include "analyzer/diagnose/facts.h"
#include "report.pb.h"

namespace oomtrace {

void FillGpuTime(const Facts& facts, report::GpuTime& out);

}  // namespace oomtrace
