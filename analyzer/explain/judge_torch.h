// What the figures of PyTorch's own refusal say.
#pragma once

#include "analyzer/explain/judge.h"

namespace oomtrace {

void JudgeTorch(const Message& message, const Surroundings& around, Judgement* judgement);
// The message's figures, and what follows by subtraction.
void SayFigures(const Message& message, Judgement* judgement);

}  // namespace oomtrace
