// Turns a record into the event it is and hands it to a sink.
#pragma once

#include "analyzer/read/chunk_cursor.h"
#include "analyzer/read/clock.h"
#include "analyzer/read/events.h"

namespace oomtrace {

// Hands on the record under `cursor` as of `time`, ns since the start of the trace by `clock`. False where it is of a
// kind that this reader does not know, or, for the one event that is not plain varints, does not parse.
bool Dispatch(const ChunkCursor& cursor, int64_t time, const TickClock& clock, EventSink* sink);

}  // namespace oomtrace
