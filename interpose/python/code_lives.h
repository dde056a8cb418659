// Which life of an address a code object is: code objects die (generated functions, notebook cells, exec) and others
// take their place, often at the same address, which must not be given the dead one's names.
//
// The interpreter's function that frees code objects is replaced by one that counts first. Nothing is kept alive, and
// no reference is taken, so it is right for threads that do not hold the GIL: a code object that runs on a thread's
// stack cannot die there.
#pragma once

#include <cstdint>

namespace oomtrace {

// Begins to watch. `code_type` is &PyCode_Type. With the GIL; false where the interpreter has no such function.
bool WatchCode(void* code_type);

// Code objects that have died since.
uint64_t CodeDeaths();

// This address is being given a name: from now on its deaths matter. Any thread.
void NoteNamed(const void* code);

// Whether any code object with a name has died. Any thread, and below.
bool AnyNamedCodeDied();

// Differs between two objects that were named at this address. Addresses share their counters, so it may change without
// cause: names are looked up again then.
uint32_t LifeOf(const void* code);

}  // namespace oomtrace
