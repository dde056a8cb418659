// Which of the hooked functions exist in this process: the Hook packets that `oomtrace doctor` shows.
#pragma once

#include "interpose/record/facts.h"

namespace oomtrace {

// Takes the dynamic linker's lock.
void WriteHooks(Facts& facts);

}  // namespace oomtrace
