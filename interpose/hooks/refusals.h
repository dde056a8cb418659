// A refusal of memory on its way to the program: first the allocator or the device refuses, then PyTorch throws an
// exception that says so in words. Some refusals are an exception only: a limit of the process that PyTorch keeps by
// itself, a size that cannot be.
#pragma once

#include <string_view>

#include "interpose/record/events.h"

namespace oomtrace {

// Called with the thread's Entry held.
void RecordRefusal(Entry& entry, const Refusal& refusal, const Attribution& attribution);

// PyTorch is about to throw an out-of-memory error with this text. Called without an Entry, from a hook whose frame is
// below every live scope.
void RecordRefusalException(std::string_view text);

}  // namespace oomtrace
