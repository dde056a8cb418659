// Frames of generated code at their functions' definitions.
#pragma once

#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Code that torch.compile makes for a function has one line for all of it, the function's first, and Python counts a
// decorator as that. Where the source is on this machine and no newer than `recorded` (ns since 1970), such a frame is
// moved to the `def` behind the decorators. A frame of the code that runs the decorator itself has another name.
void MoveToDefinitions(int64_t recorded, std::vector<Frame>* frames);

}  // namespace oomtrace
