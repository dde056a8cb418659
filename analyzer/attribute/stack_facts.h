// What the functions on a stack say about the tensors allocated under it.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct StackFacts {
  uint32_t site = 0;               // equal for stacks with the same frames, whatever module was being called
  bool moves_module = false;       // nn.Module._apply: to(), cuda(), half(), to_empty()
  bool makes_parameter = false;    // the constructor of a module of torch.nn, or the copy of a parameter
  bool optimizer_state = false;    // an optimizer's state initialisation
  bool optimizer_code = false;     // any code of an optimizer
  bool loads = false;              // torch.load, safetensors: weights or an optimizer's state, only a role can tell
  bool autograd_function = false;  // a torch.autograd.Function, whose forward has gradients off
  bool keeps_graph = false;        // gradients may be off, but what is saved here is saved for a backward
  bool reduces_gradients = false;  // allocated by DistributedDataParallel itself: the buckets of its reducer
  bool copies_object = false;      // copy.deepcopy: of a model or a state, only a role can tell
};

// One entry a stack of the timeline.
std::vector<StackFacts> FactsOfStacks(const Timeline& timeline);

}  // namespace oomtrace
