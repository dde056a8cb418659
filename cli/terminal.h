// What a report is written for.
#pragma once

#include <string>

namespace oomtrace {

// `choice`: auto, always or never. Auto: stdout is a terminal and NO_COLOR is not set (https://no-color.org).
bool UseColor(const std::string& choice);
// Of the terminal, 80 to 100; 100 where there is none.
int Columns();

}  // namespace oomtrace
