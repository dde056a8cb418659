// The verdict on a program without PyTorch, from its device calls alone: see device_sites.h.
#pragma once

#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {

// Libraries that take memory from the device in large pieces and hand it on themselves: what of it is in use cannot be
// seen from outside.
enum class PoolKind { kNone, kCupy, kXla };
PoolKind PoolOf(const Timeline& timeline, const std::string& library);

// Whether CuPy's pool made the request: it gives its unused blocks back after a refusal and asks again, twice
// (cupy/cuda/memory.pyx, SingleDeviceMemoryPool._try_malloc).
bool CupyGaveUp(const Timeline& timeline, const OutOfMemory& refusal);

// Pattern, causes, culprit and the report's words, from facts that are gathered already.
void DiagnoseDeviceProgram(const Timeline& timeline, Diagnosis* diagnosis);

// Device allocations of the process that PyTorch's allocator did not make, by place, for any program.
void AddDeviceOwners(const Timeline& timeline, const Facts& facts, size_t most, report::Report* report);

}  // namespace oomtrace
