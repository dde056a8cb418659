// A report for a person at a terminal, on one screen: what died and where; why; who holds the device; what to change;
// what is not known. Losses of the trace stand first, if there are any.
#pragma once

#include <string>

#include "report.pb.h"

namespace oomtrace {

struct TextOptions {
  bool color = false;  // ANSI colours: only for a terminal
  int width = 100;     // columns; lines are wrapped to it
};

std::string RenderText(const report::Report& report, const TextOptions& options);

}  // namespace oomtrace
