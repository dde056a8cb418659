// Requests to a pluggable allocator that ended in a C++ exception.
#pragma once

namespace oomtrace {

// At exit: a request of this thread that never came back was refused.
void RecordAbandonedRequest();

}  // namespace oomtrace
