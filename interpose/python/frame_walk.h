// The Python stack of the calling thread, read raw from the interpreter's own structures.
//
// Works without the GIL, which PyTorch releases in most operations: while this thread is in C++, nobody else changes
// its frames, and the code objects and strings that they refer to stay alive. No Python API is called that allocates,
// takes a reference or looks at a pending exception.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/python/frame_layout.h"
#include "interpose/record/facts.h"

namespace oomtrace {

struct RawFrame {
  const uint8_t* code;
  int32_t instruction;    // byte offset into the code
  const uint8_t* locals;  // the frame's first local variable
  uint64_t hash;          // of both, and of what would differ in another code object at the same address
};

struct RawStack {
  RawFrame frames[kMostFrames];  // innermost first
  uint32_t count;
  bool truncated;
  uint64_t module;       // the innermost nn.Module that is being called, by identity
  uint64_t root_module;  // the outermost one
  uint64_t hash;
};

// `thread` is a PyThreadState*. `module_call` is the code object whose first local variable is a module, or nullptr.
void WalkFrames(const FrameLayout& layout, const void* thread, const void* module_call, RawStack* stack);

// How many slots for variables the frame has.
int VariableCount(const FrameLayout& layout, const RawFrame& frame);
// Identity of the object in a slot of the frame, 0 where it is empty. The index is not checked.
uint64_t FrameLocal(const FrameLayout& layout, const RawFrame& frame, int index);

// The frame's file and function, as UTF-8, cut at the capacity; returns the sizes.
size_t FrameFile(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity);
size_t FrameFunction(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity);

}  // namespace oomtrace
