// Says of every tensor what it is: fills category, name, module and holder.
//
// Evidence, strongest first:
// 1. a role: the owner (a module, an optimizer, a parameter's .grad) named the tensor while it lived;
// 2. where it was allocated: inside an optimizer's state initialisation, nn.Module._apply, the autograd engine's
//    AccumulateGrad, a workspace (no tensor factory was active);
// 3. a copy from the host that arrived outside every module: an input;
// 4. what became of it: a forward's tensor that outlives the forward is an activation, one that does not is a
//    temporary; what a backward leaves behind in the shape of a parameter is a gradient; what an optimizer's step
//    leaves behind is its state;
// 5. for what was alive when the process died (and so has no end): what became of its like, allocated at the same
//    place with the same layout, earlier or in another layer; else what its phase usually does.
// 6. what outlives its step by several, and belongs to no model and no graph: the program keeps it.
// What none of these decides stays unknown.
#pragma once

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

void Attribute(Timeline* timeline);

}  // namespace oomtrace
