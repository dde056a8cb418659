// What the graphs of a process hold for their memory nodes: one pool for each device, which grows when a graph is
// launched and shrinks when it is trimmed. In the trace it is one allocation of physical memory for each device, made
// anew by the call that changed its size.
#pragma once

#include "interpose/hooks/device_hook.h"

namespace oomtrace {

// A graph was given a node that allocates: from now on launches are followed by a question to the driver.
void NoteGraphMemoryNode();

// After a call that may have changed what the current device's pool holds. Outside of the recorder. Nothing happens
// where no graph has such a node, and inside a CUDA call, whose caller asks himself.
void RecordGraphMemory(const HookSite& site);

}  // namespace oomtrace
