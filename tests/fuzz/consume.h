// Reads a trace as `oomtrace analyze` does, from bytes of any origin.
#pragma once

#include <cstdint>
#include <string_view>

namespace oomtrace::fuzz {

// Opens, builds the timeline, attributes it and asks every question of it. Aborts where what the stages promise each
// other does not hold: an index out of range, a table that does not add up, a time that runs backwards. Returns the
// number of events, -1 where the bytes were refused.
int64_t Consume(std::string_view bytes);

}  // namespace oomtrace::fuzz
