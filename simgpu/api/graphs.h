// The graphs of this process with what their memory nodes hold.
#pragma once

#include "simgpu/graph_memory.h"

namespace oomtrace::simgpu {

GraphMemory& Graphs();

}  // namespace oomtrace::simgpu
