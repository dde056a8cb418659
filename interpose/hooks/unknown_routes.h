// Ways to device memory that no hook follows: named in the trace, each once, and counted in its header each time. What
// they take shows in the device's free bytes; nothing is guessed.
#pragma once

#include <string_view>

#include "interpose/record/recorder.h"
#include "interpose/record/wire.h"

namespace oomtrace {

// Any thread. Starts no recording: what is found before one starts is kept, and written then.
void NoteUnknownRoute(wire::RouteKind kind, std::string_view name, const void* caller, bool may_allocate);

// What was found so far and is not in this recorder's trace. Outside of the thread's Entry.
void WriteUnknownRoutes(Recorder& recorder);

}  // namespace oomtrace
