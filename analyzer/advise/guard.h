// What no prediction may fall below: bytes that the trace shows to stay whatever the fix does.
#pragma once

#include "analyzer/advise/advisor.h"

namespace oomtrace {

// Raises each fix's predicted peak to its floor, and says so where it then does not fit. The floors: the tensors of the
// moment of death that the fix leaves alone, the refused one among them; the optimizer's state that a first step had
// still to make; for a fix of the evaluation, what training before it took.
void ApplyFloors(Advisor& a);

// Whether the allocator's settings and the micro-batch can matter to this death. They do not where it died between
// steps: what asks there has nothing to do with the batch, and how much more it would have asked is not on record.
bool DiedInIteration(const Facts& facts);
// Whether a smaller micro-batch makes the refused tensor smaller, or frees beside it what carries the batch.
bool BatchMatters(const Advisor& a);
// Whether each of the last steps needed more than the one before: then what just fits does so for a few steps only.
bool NeedGrows(const Facts& facts);

}  // namespace oomtrace
