// How the recording of a process ended.
#pragma once

#include <filesystem>

namespace oomtrace {

// Whether the recorder itself has told the user about this trace: it does so when a process exits after an
// out-of-memory, but cannot when the process is killed. False for a trace that cannot be read.
bool RecorderAnnounced(const std::filesystem::path& trace);

}  // namespace oomtrace
