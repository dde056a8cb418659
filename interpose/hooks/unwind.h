// A step of unwinding by a library's .eh_frame, as the System V ABI for x86-64 describes it: from the address that a
// call returns to, to the one that its caller returns to. Memory is read through the kernel, so nothing faults; no lock
// is taken, the dynamic linker's least of all, so this may run anywhere. Only what compilers emit for the stack pointer
// and the frame pointer is understood; elsewhere the walk ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

// Registers of a frame that has called: after the return, `pc` is the next instruction.
struct UnwindState {
  uintptr_t pc = 0;
  uintptr_t stack_pointer = 0;
  uintptr_t frame_pointer = 0;
};

// Copies `bytes` from `from`; false where they are not readable, or the kernel refuses (a sandbox without
// process_vm_readv).
bool CopyReadable(void* to, uintptr_t from, size_t bytes);

// Address of the .eh_frame_hdr of the library whose ELF header lies at `base`, 0 where it has none.
uintptr_t FindEhFrameHeader(uintptr_t base);

// To the caller's frame. `header` belongs to the library of state->pc. False where the walk ends.
bool UnwindStep(uintptr_t header, UnwindState* state);

}  // namespace oomtrace
