// Whether the allocator model asks the device for the segments that the trace recorded: same sizes, same order.
#pragma once

#include <cstdint>

#include "analyzer/read/trace_reader.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// How far the model reproduces the trace. `of` is 0 where the trace has no segments to compare with.
struct Fidelity {
  int64_t matched = 0;
  int64_t of = 0;
  // RecordedStream alone reproduces it, too. Of a long trace it lacks the tensors without a record, which may have
  // split the cache otherwise: then no other stream can be derived from it.
  bool stream = false;

  bool Holds() const { return of > 0 && matched == of; }
  bool StreamHolds() const { return Holds() && stream; }
};

// Where a long trace leaves tensors out of the timeline, `reader` is read once more, so that every request is checked;
// null: only the records are.
Fidelity CheckFidelity(const Timeline& timeline, TraceReader* reader = nullptr, const Progress& progress = {});

}  // namespace oomtrace
