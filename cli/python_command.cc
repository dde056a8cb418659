#include "cli/python_command.h"

#include <filesystem>

#include "absl/strings/ascii.h"

namespace oomtrace {
namespace {

// "python", "python3", "python3.11".
bool IsPython(const std::string& program) {
  const std::string name = std::filesystem::path(program).filename().string();
  if (!name.starts_with("python")) return false;
  return name.find_first_not_of("0123456789.", 6) == std::string::npos;
}

// Letters of options without a value that leave it alone where modules come from.
bool IsPlainOption(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word.find_first_not_of("buBdOqsvx", 1) == std::string::npos;
}

}  // namespace

std::optional<PythonCommand> ParsePythonCommand(const std::vector<std::string>& command) {
  if (command.empty() || !IsPython(command.front())) return std::nullopt;
  PythonCommand python;
  python.interpreter = {command.front()};
  for (size_t i = 1; i < command.size(); ++i) {
    const std::string& word = command[i];
    const bool more = i + 1 < command.size();
    if ((word == "-W" || word == "-X") && more) {
      python.interpreter.push_back(word);
      python.interpreter.push_back(command[++i]);
    } else if (word == "-m" && more) {
      python.module = command[++i];
      python.arguments.assign(command.begin() + static_cast<ptrdiff_t>(i) + 1, command.end());
      return python;
    } else if (IsPlainOption(word)) {
      python.interpreter.push_back(word);
    } else if (word.empty() || word[0] == '-') {
      return std::nullopt;
    } else {
      python.script = word;
      python.arguments.assign(command.begin() + static_cast<ptrdiff_t>(i) + 1, command.end());
      return python;
    }
  }
  return std::nullopt;
}

}  // namespace oomtrace
