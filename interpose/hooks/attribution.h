// What is known about the allocation that this thread is making: the Python stack, the tensor's layout, grad mode.
#pragma once

#include "interpose/record/events.h"

namespace oomtrace {

// Called with the thread's Entry held, from a hook whose frame is below every live scope.
Attribution AttributeAllocation(ThreadState& thread);
uint32_t CurrentStack(ThreadState& thread);

// Looks up every real function and query of PyTorch, while no lock of its allocator is held. Cheap after the first time.
void ResolveTorch();

}  // namespace oomtrace
