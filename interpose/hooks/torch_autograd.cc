// Backward: the engine's entry marks a micro-batch, the node that runs names what a gradient was allocated for.
#include "interpose/hooks/attribution.h"
#include "interpose/hooks/forward_stacks.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/scopes.h"
#include "interpose/hooks/system_facts.h"
#include "interpose/hooks/torch_types.h"
#include "interpose/python/python_part.h"
#include "interpose/python/python_stack.h"

using namespace oomtrace;

namespace {

// Phases of the outermost engine only; the statement that asked for it stands for what the engine's threads allocate.
void RecordBackward(wire::Phase kind) {
  Entry entry(Cause::kFact);
  if (!entry) return;
  RecordPhase(entry.thread(), kind, 0);
  if (kind == wire::Phase::kBackwardBegin) SetBackwardStack(CurrentStack(entry.thread()));
}

// A node that a backward makes (create_graph), on a thread without Python, belongs to the forward of its maker.
uint32_t StackOfForward(ThreadState& thread) {
  if (const uint32_t stack = CurrentStack(thread)) return stack;
  auto* maker = Scope<NodeState>::Live(thread_scopes.node, __builtin_frame_address(0));
  return maker != nullptr ? ForwardStackOf(*thread.recorder, maker->state().node) : 0;
}

[[gnu::noinline, gnu::hot]] void NoteNode(uint64_t sequence) {
  if (Entry entry(Cause::kFact); entry) NoteForward(entry.recorder(), sequence, StackOfForward(entry.thread()));
}

}  // namespace

// PyTorch's Python extension calls it once, while it is being imported, with the GIL and without a lock of its own.
OOMTRACE_EXPORT void _ZN5torch8autograd23set_default_engine_stubEPFRNS0_6EngineEvE(void* stub) {
  using Set = void(void*);
  Real<Set>(HookId::kSetDefaultEngineStub, __builtin_return_address(0))(stub);
  PreparePythonPart();
}

// A forward operator makes a node of the backward graph, whether or not it allocates: views and operations in place do
// not, and their backward does.
OOMTRACE_HOT_EXPORT uint64_t _ZN2at15sequence_number17get_and_incrementEv() {
  using Next = uint64_t();
  const void* caller = __builtin_return_address(0);
  if (void* known = KnownReal(HookId::kNextSequenceNumber); known != nullptr && !PythonStacksEnabled())
    return reinterpret_cast<Next*>(known)();
  const uint64_t sequence = Real<Next>(HookId::kNextSequenceNumber, caller)();
  NoteNode(sequence);
  return sequence;
}

OOMTRACE_HOT_EXPORT void
_ZN5torch8autograd6Engine17evaluate_functionERSt10shared_ptrINS0_9GraphTaskEEPNS0_4NodeERNS0_11InputBufferERKS2_INS0_10ReadyQueueEE(
    void* engine, void* graph_task, void* node, void* inputs, void* queue) {
  const void* caller = __builtin_return_address(0);
  Scope<NodeState> scope(&thread_scopes.node, NodeState{node});
  using Evaluate = void(void*, void*, void*, void*, void*);
  Real<Evaluate>(HookId::kEvaluateFunction, caller)(engine, graph_task, node, inputs, queue);
}

// A backward that ends in an exception has no end: the next begin, or the out-of-memory event, tells.
OOMTRACE_EXPORT ReturnedInMemory
_ZN5torch8autograd6Engine7executeERKSt6vectorINS0_4EdgeESaIS3_EERKS2_IN2at6TensorESaIS9_EEbbbS7_(
    void* engine, void* roots, void* inputs, bool keep_graph, bool create_graph, bool accumulate, void* outputs) {
  const void* caller = __builtin_return_address(0);
  struct EndOfBackward {
    bool outermost;
    ~EndOfBackward() {
      if (outermost) RecordBackward(wire::Phase::kBackwardEnd);
    }
  };
  TickSlowClock();
  // Inside a node (checkpointing, a double backward from a hook) it is a part of the backward that runs already.
  const bool in_node = Scope<NodeState>::Live(thread_scopes.node, __builtin_frame_address(0)) != nullptr;
  Scope<EngineState> scope(&thread_scopes.engine, {});
  EndOfBackward end{scope.outermost() && !in_node && !Tracing()};
  if (end.outermost) {
    RunPythonPartOffMainThread();
    RecordBackward(wire::Phase::kBackwardBegin);
  }
  using Execute = ReturnedInMemory(void*, void*, void*, bool, bool, bool, void*);
  return Real<Execute>(HookId::kExecute, caller)(engine, roots, inputs, keep_graph, create_graph, accumulate, outputs);
}
