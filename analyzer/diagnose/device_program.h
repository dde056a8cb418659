// The verdict on a program without PyTorch, from its device calls alone: see device_sites.h.
#pragma once

#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {

// Pattern, causes, culprit and the report's words, from facts that are gathered already.
void DiagnoseDeviceProgram(const Timeline& timeline, Diagnosis* diagnosis);

// Device allocations of the process that PyTorch's allocator did not make, by place, for any program.
void AddDeviceOwners(const Timeline& timeline, const Facts& facts, size_t most, report::Report* report);

}  // namespace oomtrace
