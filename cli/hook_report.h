// What the recorder saw and what it missed in one process, as text.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace oomtrace {

struct HookReport {
  std::string text;        // several lines, each ended
  bool recording = false;  // the recorder worked to the end
};

// Errors as TraceReader::Open's.
absl::StatusOr<HookReport> ReportHooks(const std::string& trace);

}  // namespace oomtrace
