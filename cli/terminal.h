// What a report is written for, and how the user asks for it.
#pragma once

#include <string>

#include "CLI/CLI.hpp"

namespace oomtrace {

struct OutputOptions {
  std::string format = "text";  // or json
  std::string color = "auto";   // always, never
};
// --format and --color. `options` must outlive the parsing.
void AddOutputOptions(CLI::App& command, OutputOptions& options);

// `choice`: auto, always or never. Auto: stdout is a terminal and NO_COLOR is not set (https://no-color.org).
bool UseColor(const std::string& choice);
// Of the terminal, 80 to 100; 100 where there is none.
int Columns();

}  // namespace oomtrace
