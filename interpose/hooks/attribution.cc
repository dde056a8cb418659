#include "interpose/hooks/attribution.h"

#include <atomic>

#include "interpose/hooks/real.h"
#include "interpose/hooks/scopes.h"
#include "interpose/python/python_stack.h"

namespace oomtrace {

constinit thread_local ThreadScopes thread_scopes __attribute__((tls_model("initial-exec"))) = {};

namespace {

using ModeQuery = bool();
using DispatchModeQuery = bool(bool skip_infrastructure);

std::atomic<bool> resolved{false};
std::atomic<uint32_t> backward_stack{0};
std::atomic<ModeQuery*> grad_mode{nullptr};
std::atomic<ModeQuery*> inference_mode{nullptr};
std::atomic<DispatchModeQuery*> dispatch_modes{nullptr};

bool Ask(const std::atomic<ModeQuery*>& query, bool otherwise) {
  ModeQuery* function = query.load(std::memory_order_relaxed);
  return function != nullptr ? function() : otherwise;
}

ContextState CurrentContext(const void* here) {
  ContextState context;
  context.grad_mode = Ask(grad_mode, true);
  context.inference_mode = Ask(inference_mode, false);
  if (auto* node = Scope<NodeState>::Live(thread_scopes.node, here)) {
    context.backward = true;
    context.node = node->state().name;
  } else if (Scope<EngineState>::Live(thread_scopes.engine, here) != nullptr) {
    context.backward = true;
  }
  return context;
}

uint32_t ContextId(ThreadState& thread, const ContextState& context) {
  const ContextState& last = thread.context;
  if (thread.context_known && last.node == context.node && last.grad_mode == context.grad_mode &&
      last.inference_mode == context.inference_mode && last.backward == context.backward) {
    return thread.context_id;
  }
  thread.context_id = thread.recorder->facts().Context(context);
  thread.context = context;
  thread.context_known = thread.context_id != 0;
  return thread.context_id;
}

}  // namespace

void ResolveTorch() {
  if (resolved.load(std::memory_order_acquire)) [[likely]]
    return;
  for (uint32_t i = 0; i < static_cast<uint32_t>(HookId::kCount); ++i) {
    if (HookOf(static_cast<HookId>(i)).library != HookLibrary::kCudart) FindReal(static_cast<HookId>(i), nullptr);
  }
  grad_mode = reinterpret_cast<ModeQuery*>(FindIn(HookLibrary::kC10, "_ZN3c108GradMode10is_enabledEv"));
  inference_mode = reinterpret_cast<ModeQuery*>(FindIn(HookLibrary::kC10, "_ZN3c1013InferenceMode10is_enabledEv"));
  dispatch_modes = reinterpret_cast<DispatchModeQuery*>(
      FindIn(HookLibrary::kC10, "_ZN3c104impl20TorchDispatchModeTLS13any_modes_setEb"));
  resolved.store(true, std::memory_order_release);
}

// The infrastructure's modes are those of tracing: fake tensors, proxies, functionalization. A mode of the user (a FLOP
// counter, a checkpointing policy) runs the real thing.
bool Tracing() {
  DispatchModeQuery* modes = dispatch_modes.load(std::memory_order_relaxed);
  return modes != nullptr && modes(false) && !modes(true);
}

void SetBackwardStack(uint32_t stack) { backward_stack.store(stack, std::memory_order_relaxed); }

uint32_t CurrentStack(ThreadState& thread) { return InternPythonStack(*thread.recorder); }

Attribution AttributeAllocation(ThreadState& thread) {
  const void* here = __builtin_frame_address(0);
  Attribution attribution;
  attribution.stack = CurrentStack(thread);
  if (auto* factory = Scope<LayoutState>::Live(thread_scopes.factory, here))
    attribution.layout = thread.recorder->facts().Layout(factory->state());
  const ContextState context = CurrentContext(here);
  attribution.context = ContextId(thread, context);
  if (attribution.stack == 0 && context.backward) attribution.stack = backward_stack.load(std::memory_order_relaxed);
  return attribution;
}

}  // namespace oomtrace
