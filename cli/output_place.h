// The place that -o names: whose it is, and how it is cleared.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace oomtrace {

// Makes way for a trace at `path`, and returns what the user should know of it, as one line, "" for nothing. No trace
// is lost: an older one gets a name of its own beside it, after the time (UTC) at which it began; that of a process
// that still runs stays, and the recorder puts the new ones beside it (<stem>.<pid>.oomtrace). Errors: there is no such
// folder, it is not writable, or another file than a trace is there.
absl::StatusOr<std::string> PrepareOutput(const std::filesystem::path& path);

}  // namespace oomtrace
