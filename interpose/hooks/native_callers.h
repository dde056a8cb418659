// Who asks for a block that is no tensor: a cuBLAS workspace, a sort's scratch space, a reduction's buffer.
//
// The calls above the hook are unwound (unwind.h) and kept as places in libraries; the analyzer gives them names. May
// run under the allocator's lock: no lock of the dynamic linker, no fault, no allocation.
#pragma once

#include <cstdint>

#include "interpose/record/recorder.h"

namespace oomtrace {

// A hook's own frame: what unwinding starts from.
struct HookFrame {
  const void* caller = nullptr;  // its return address
  const void* frame = nullptr;   // its frame pointer: the caller's is stored there, the return address behind it
};
// For the body of a hook only.
#define OOMTRACE_HOOK_FRAME() \
  ::oomtrace::HookFrame { __builtin_return_address(0), __builtin_frame_address(0) }

// NativeCallers.id of the calls that led to the hook, 0 where none was found. Some hundred microseconds: once for each
// new site.
uint32_t FindNativeCallers(Recorder& recorder, const HookFrame& hook);

}  // namespace oomtrace
