// Where this thread is inside PyTorch: in a tensor factory, in a node of the backward graph, in the autograd engine.
//
// A scope is a record in its hook's own stack frame; thread-local storage only points at the innermost one. C++
// exceptions of PyTorch pass through the hooks without landing pads, so a record may be left behind: it is recognised
// as stale by its address (frames above a live one are gone) and by its mark, which the next use of the stack memory
// overwrites and every normal return clears.
#pragma once

#include <cstdint>

#include "interpose/record/facts.h"

namespace oomtrace {

template <typename State>
class Scope {
 public:
  Scope(Scope** innermost, const State& state) : state_(state), innermost_(innermost) {
    outer_ = Live(*innermost, this);
    mark_ = Mark(this);
    *innermost = this;
  }
  ~Scope() {
    mark_ = 0;
    *innermost_ = outer_;
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  const State& state() const { return state_; }
  bool outermost() const { return outer_ == nullptr; }

  // The scope if it is one, seen from a frame at `here`; else nullptr. Stacks grow down.
  static Scope* Live(Scope* scope, const void* here) {
    if (scope == nullptr || reinterpret_cast<uintptr_t>(scope) <= reinterpret_cast<uintptr_t>(here)) return nullptr;
    return scope->mark_ == Mark(scope) ? scope : nullptr;
  }

 private:
  static uint64_t Mark(const Scope* scope) { return reinterpret_cast<uintptr_t>(scope) ^ 0x6f6f6d7472616365u; }

  State state_;
  Scope** innermost_;
  Scope* outer_;
  volatile uint64_t mark_;
};

struct NodeState {
  const void* node;  // a torch::autograd::Node
  // Its mangled class name: in the type information of a polymorphic object, the slot before the virtual functions
  // (Itanium C++ ABI). Three loads far away, so only for who asks.
  const char* class_name() const {
    const auto* virtual_table = *static_cast<const void* const* const*>(node);
    const auto* type_info = static_cast<const char* const*>(virtual_table[-1]);
    return type_info != nullptr ? type_info[1] : nullptr;
  }
};
struct EngineState {};

struct ThreadScopes {
  Scope<LayoutState>* factory;
  Scope<NodeState>* node;
  Scope<EngineState>* engine;
};

extern constinit thread_local ThreadScopes thread_scopes __attribute__((tls_model("initial-exec")));

// After an out-of-memory report an exception leaves the factory. Nodes and the engine may be entered still, where
// Python code inside backward catches it.
inline void ForgetFactory() { thread_scopes.factory = nullptr; }

}  // namespace oomtrace
