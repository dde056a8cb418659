// Ranges of NVTX that were opened before the recording began.
#pragma once

namespace oomtrace {

// Writes those of the calling thread. Called when the recording starts.
void WriteOpenRanges();

}  // namespace oomtrace
