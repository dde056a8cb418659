// Ranges of NVTX that were opened before the recording began.
#pragma once

namespace oomtrace {

// Writes those that the calling thread pushed, and those that the process started, as far as they were kept: the first
// eight of each. Called when the recording starts.
void WriteOpenRanges();

}  // namespace oomtrace
