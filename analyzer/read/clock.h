// Ticks of the recorder's clock to nanoseconds since the start of the trace.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/read/chunk_list.h"
#include "analyzer/read/damage_log.h"
#include "analyzer/read/file_header.h"

namespace oomtrace {

// A straight line through the header's pair (ticks, ns). Its slope is the median over the later third of the chunks'
// pairs, where a line through the last pair alone would follow one flipped bit.
class TickClock {
 public:
  TickClock(const FileHeader& header, const std::vector<Chunk>& chunks);

  // Not below 0: a chunk's first event may precede the header's reading by the time between two instructions.
  int64_t Nanoseconds(uint64_t ticks) const;
  uint64_t Ticks(int64_t nanoseconds) const;

 private:
  uint64_t start_ticks_;
  double ns_per_tick_ = 1.0;  // where no two pairs differ: the trace ended within one reading of the clock
};

// Puts right a chunk's base ticks where they contradict its own reading of the monotonic clock and the chunk before
// it: otherwise one flipped bit moves every event of the chunk to another time. Each repair is noted.
void RepairBaseTicks(const FileHeader& header, const TickClock& clock, std::vector<Chunk>* chunks, DamageLog* damage);

}  // namespace oomtrace
