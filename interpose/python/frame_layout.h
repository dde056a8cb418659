// Where the interpreter keeps what a stack is made of, by version of CPython. Offsets are bytes.
#pragma once

#include <cstdint>

namespace oomtrace {

struct FrameLayout {
  // The thread's innermost frame: *(state + thread_frame), and through one more pointer where `cframe` is not negative.
  int32_t thread_frame;
  int32_t cframe;
  // The frame.
  int32_t previous;
  int32_t code;
  int32_t instruction;
  int32_t instruction_unit;  // 0: a pointer into the code (from 3.11); else an index of units of so many bytes
  int32_t owner;             // -1: frames have none (up to 3.10)
  int32_t locals;            // the first local variable
  uintptr_t tag_mask;        // low bits of references that are not part of the pointer (3.14)
  // The code object.
  int32_t filename;
  int32_t name;  // qualified from 3.11
  int32_t first_line;
  int32_t bytecode;
  int32_t variables;        // how many local variables, cells and free variables (up to 3.10: local variables only)
  int32_t first_traceable;  // -1: frames that have not started yet are not linked, or marked by their owner
  // Strings: where the characters begin.
  int32_t ascii_characters;
  int32_t compact_characters;
};

// `version` is Py_GetVersion(), "3.11.2 (main, …"; `runtime` is &_PyRuntime or nullptr. From 3.13 on the interpreter
// says most offsets itself (debug_offsets.h). nullptr where this version is not known.
const FrameLayout* FrameLayoutOf(const char* version, const void* runtime);

}  // namespace oomtrace
