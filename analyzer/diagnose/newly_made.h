// What a late one-off made: tensors alive at the death whose lines had not run while training was stable, until a few
// steps before.
#pragma once

#include <cstdint>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

struct NewlyMade {
  int64_t bytes = 0;      // in all, the refused tensor included where its own line is new
  int64_t statement = 0;  // bytes made by the one statement that made most
  int64_t count = 0;      // its tensors
  int64_t example = -1;   // the largest of them, an index into Timeline::tensors; -1: none is alive
  bool refused = false;   // the line that asked for what did not fit is new, too
};

NewlyMade FindNewlyMade(const Facts& facts);

}  // namespace oomtrace
