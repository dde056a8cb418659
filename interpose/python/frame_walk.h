// The Python stack of the calling thread, read raw from the interpreter's own structures.
//
// Works without the GIL, which PyTorch releases in most operations: while this thread is in C++, nobody else changes
// its frames, and the code objects and strings that they refer to stay alive. No Python API is called, no reference is
// taken, and a pending exception is not looked at.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interpose/python/frame_layout.h"

namespace oomtrace {

// What identifies a stack, from nothing but its frames: no code object is touched.
struct RawStack {
  const void* thread;    // the PyThreadState
  uint64_t hash;         // of the code objects, the places in them, and the modules
  uint64_t module;       // the innermost nn.Module that is being called, by identity
  uint64_t root_module;  // the outermost one among the frames hashed
};

// Frames that the hash covers; deeper ones do not tell two stacks apart.
inline constexpr int kMostHashed = 96;

// `thread` is a PyThreadState*. `module_call` is the code object whose first local variable is a module, or nullptr.
// False where the thread runs no Python code. Twenty frames cost about 40 ns.
bool WalkFrames(const FrameLayout& layout, const void* thread, const void* module_call, RawStack* stack);

struct RawFrame {
  const uint8_t* code;
  int32_t instruction;    // byte offset into the code
  const uint8_t* locals;  // the frame's first local variable
};

// The frames that are at a statement, innermost first, at most `most`; `truncated` says whether there are more.
uint32_t ReadFrames(const FrameLayout& layout, const void* thread, RawFrame* frames, uint32_t most, bool* truncated);
// The outermost nn.Module that is being called, however deep; 0: none.
uint64_t OutermostModule(const FrameLayout& layout, const void* thread, const void* module_call);

// What the objects on a stack are told by.
struct InterpreterTypes {
  const void* code;    // &PyCode_Type
  const void* string;  // &PyUnicode_Type
};
// Copies bytes that may not be there: false then.
using ReadMemory = bool(void* to, uintptr_t from, size_t bytes);
// Whether the layout leads through the thread's frames, from the innermost to the last, and each that runs Python code
// has a code object with a file's and a function's name, and is at a place within its code. True for at least one such
// frame and nothing else; memory is read by `read` alone.
bool LeadsToCode(const FrameLayout& layout, const void* thread, const InterpreterTypes& types, ReadMemory* read);

// How many slots for variables the frame has.
int VariableCount(const FrameLayout& layout, const RawFrame& frame);
// Identity of the object in a slot of the frame, 0 where it is empty. The index is not checked.
uint64_t FrameLocal(const FrameLayout& layout, const RawFrame& frame, int index);

// The frame's file and function, as UTF-8, cut at the capacity; returns the sizes.
size_t FrameFile(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity);
size_t FrameFunction(const FrameLayout& layout, const RawFrame& frame, char* buffer, size_t capacity);

}  // namespace oomtrace
