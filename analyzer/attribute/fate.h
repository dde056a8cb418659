// What became of a tensor, as far as the program decided it: an exception that unwinds decides nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct Fate {
  bool open = false;      // alive when the process died or the trace ended, or killed by an unwinding exception
  bool within = false;    // died in the stretch of the phase in which it was born
  bool outlived = false;  // lived on after that stretch
  // A forward or an evaluation began while it lived; or a backward, which functional code's forward precedes unmarked.
  bool saw_forward = false;
  int64_t end = 0;  // its death, or when the outcome was lost

  bool decided() const { return within || outlived; }
};

class Fates {
 public:
  explicit Fates(const Timeline& timeline);

  Fate Of(const Tensor& tensor) const;

 private:
  // Index into Timeline::phases of the stretch that holds `time`.
  size_t StretchAt(int64_t time) const;

  const Timeline& timeline_;
  int64_t cut_;  // the fatal refusal, else the end: nothing after it counts
};

}  // namespace oomtrace
