// Judgements for a person at a terminal, and for programs.
#pragma once

#include <string>
#include <vector>

#include "analyzer/explain/judge.h"

namespace oomtrace {

// Wrapped at `width` columns.
std::string RenderJudgements(const std::vector<Judgement>& judgements, bool color, int width);
// An object with one member, "messages": docs/explain.md has its fields. Sizes are bytes.
std::string RenderJudgementsJson(const std::vector<Judgement>& judgements);

}  // namespace oomtrace
