// Python stacks in the trace. Off until the Python part has shown, in this very interpreter, that the raw walk sees
// what the interpreter itself says (python_part.h); off for good, with a reason, where it does not.
#pragma once

#include <atomic>

#include "interpose/python/frame_walk.h"
#include "interpose/record/recorder.h"

namespace oomtrace {

// The calling thread's Python stack, raw; false where it has none. Any thread, with or without the GIL.
bool WalkPythonStack(RawStack* stack);
// Its Stack.id; 0 where the recorder cannot take it, which is counted.
uint32_t InternPythonStack(Recorder& recorder, const RawStack& stack);

extern std::atomic<const FrameLayout*> trusted_layout;  // nullptr: stacks are off
inline bool PythonStacksEnabled() { return trusted_layout.load(std::memory_order_relaxed) != nullptr; }

// Before the Python part has run: where the layout of this interpreter's version leads through the calling thread's
// frames to code objects and strings (told by their types, all memory read through the kernel), stacks are on from
// here. For device calls of programs without PyTorch, whose first ones come before the Python part, as do all of a
// thread while the main thread sits in one C call. Any thread; takes no lock but the dynamic linker's.
void TrustFirstStack();

// For the self-test, whether or not stacks are on; nullptr where the interpreter's layout is not known. With the GIL.
const FrameLayout* LayoutOfInterpreter();
void EnablePythonStacks(bool enable);
// The code object of nn.Module's call, whose first local variable is the module.
void SetModuleCall(const void* code);

}  // namespace oomtrace
