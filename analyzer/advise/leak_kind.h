// What kind of thing keeps a leak: which change stops it depends on that.
#pragma once

#include <cstdint>

#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {

enum class LeakKind : uint8_t {
  kContainer,   // tensors in a list, a dictionary, an attribute
  kHooks,       // hooks of a module or a tensor, one more in each step
  kCycle,       // objects that refer to themselves, until the garbage collector comes
  kFunctions,   // a functools cache
  kSuspended,   // generators and coroutines that wait
  kModels,      // copies of a whole model, or of its weights
  kOptimizers,  // optimizers, with their state
  kParameters,  // parameters that are trained: of modules that get more of them
  kQueue        // a container from which less comes out than goes in
};

LeakKind KindOf(const Diagnosis& diagnosis);

}  // namespace oomtrace
