#include "cli/invocation.h"

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "absl/strings/str_replace.h"

namespace oomtrace {

int ExitStatusOf(const absl::Status& error) { return absl::IsDataLoss(error) ? kExitDamaged : kExitUsage; }

Invocation SplitAtSeparator(int argc, const char* const* argv) {
  Invocation invocation;
  for (int i = 1; i < argc; ++i) {
    if (invocation.has_separator) {
      invocation.command.emplace_back(argv[i]);
    } else if (std::string_view(argv[i]) == "--") {
      invocation.has_separator = true;
    } else {
      invocation.arguments.emplace_back(argv[i]);
    }
  }
  return invocation;
}

std::string ShellQuoted(const std::vector<std::string>& words) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      text += word;
    } else {
      text += "'" + absl::StrReplaceAll(word, {{"'", "'\\''"}}) + "'";
    }
  }
  return text;
}

std::string WithSeparator(const Invocation& invocation, const std::string& first) {
  std::vector<std::string> words = {"oomtrace"};
  words.insert(words.end(), invocation.arguments.begin(), invocation.arguments.end());
  words.insert(std::find(words.begin(), words.end(), first), "--");
  words.insert(words.end(), invocation.command.begin(), invocation.command.end());
  return ShellQuoted(words);
}

void PrintError(const std::string& what, const std::string& advice) {
  std::fprintf(stderr, "oomtrace: %s\n", what.c_str());
  if (!advice.empty()) std::fprintf(stderr, "  %s\n", advice.c_str());
}

}  // namespace oomtrace
