// The two prints of a plan.
#pragma once

#include <string>

#include "plan/cards.h"

namespace oomtrace::plan {

std::string RenderText(const Answer& answer, bool color, int columns);
std::string RenderJson(const Answer& answer);

}  // namespace oomtrace::plan
