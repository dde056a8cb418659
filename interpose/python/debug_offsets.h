// The offsets that the interpreter publishes for debuggers and profilers, at the beginning of _PyRuntime (CPython 3.13
// and later; Include/internal/pycore_debug_offsets.h).
#pragma once

#include "interpose/python/frame_layout.h"

namespace oomtrace {

// Overwrites in `layout`, which is that of 3.`minor`, what the interpreter says. False, and nothing is changed, where
// it says nothing of this version, or something that cannot be.
bool ApplyDebugOffsets(const void* runtime, int minor, FrameLayout* layout);

}  // namespace oomtrace
