// What is known about the allocation that this thread is making: the Python stack, the tensor's layout, grad mode.
#pragma once

#include <atomic>

#include "interpose/hooks/native_callers.h"
#include "interpose/record/events.h"

namespace oomtrace {

// Called with the thread's Entry held, from a hook whose frame is below every live scope. Where no tensor factory runs,
// the native callers are looked for if the hook gives its frame and PyTorch is there: once for each stack and size.
Attribution AttributeAllocation(ThreadState& thread, const HookFrame& hook = {}, uint64_t bytes = 0);
// The same for a block of the caching allocator: a site, and nothing else where it is a known one.
Attribution AttributeBlock(ThreadState& thread, uint64_t bytes, uint32_t device, const HookFrame& hook);
uint32_t CurrentStack(ThreadState& thread);

// The stack of the statement that started the backward which runs now: the engine's own threads have no Python stack,
// and their allocations get this one.
void SetBackwardStack(uint32_t stack);

// Whether PyTorch is tracing (torch.compile, export, fake tensors): a backward that runs now is one on paper.
bool Tracing();

// Looks up every real function and query of PyTorch, while no lock of its allocator is held. Cheap after the first
// time.
void ResolveTorchOnce();
extern std::atomic<bool> torch_resolved;
inline void ResolveTorch() {
  if (!torch_resolved.load(std::memory_order_acquire)) [[unlikely]]
    ResolveTorchOnce();
}

}  // namespace oomtrace
