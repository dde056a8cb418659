// How the recording of a process ended, and which job it belonged to.
#pragma once

#include <filesystem>
#include <string>

namespace oomtrace {

// Whether the recorder itself has told the user about this trace: it does so when a process exits after an
// out-of-memory, but cannot when the process is killed. False for a trace that cannot be read.
bool RecorderAnnounced(const std::filesystem::path& trace);

// By this variable `run` and `dryrun` tell the traces of their own job from those of another one in the same folder.
inline constexpr char kJobVariable[] = "OOMTRACE_JOB";
// False where the trace says that its process was started with another value, or without one.
bool MayBelongTo(const std::filesystem::path& trace, const std::string& job);

}  // namespace oomtrace
