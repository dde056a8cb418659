// Whether the process of a trace still lives, where that can be told: on the machine, in the boot and in the namespace
// of process numbers that it ran in.
#pragma once

#include "analyzer/timeline/timeline.h"
#include "trace.pb.h"

namespace oomtrace {

ProcessLife LifeOf(const trace::Process& process);

}  // namespace oomtrace
