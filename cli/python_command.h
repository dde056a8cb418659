// What a command line of Python's runs. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace oomtrace {

struct PythonCommand {
  std::vector<std::string> interpreter;  // and its options: {"python3", "-u", "-X", "dev"}
  std::string script;                    // one of the two is ""
  std::string module;                    // of -m
  std::vector<std::string> arguments;
};

// Nothing where it is no Python that runs a file or a module: another program, `-c`, an interactive one, or options
// that this does not know, such as those that change where modules are looked for.
std::optional<PythonCommand> ParsePythonCommand(const std::vector<std::string>& command);

}  // namespace oomtrace
