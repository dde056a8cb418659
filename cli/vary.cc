#include "cli/vary.h"

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

bool IsName(const std::string& text) {
  if (text.empty() || absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

// The word with each {name} replaced by what `value` gives.
std::string Replaced(const std::string& word, const std::function<std::string(const std::string&)>& value) {
  std::string out;
  for (size_t at = 0; at < word.size();) {
    const size_t close = word[at] == '{' ? word.find('}', at) : std::string::npos;
    const std::string name = close == std::string::npos ? "" : word.substr(at + 1, close - at - 1);
    if (IsName(name)) {
      out += value(name);
      at = close + 1;
    } else {
      out += word[at++];
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::pair<std::string, std::string>> ParseValue(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || !IsName(text.substr(0, equals)) || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--vary ", text, ": expected NAME=VALUE, such as batch_size=64, for {batch_size} in the command"));
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

std::set<std::string> NamesIn(const std::vector<std::string>& command) {
  std::set<std::string> names;
  for (const std::string& word : command) {
    Replaced(word, [&](const std::string& name) {
      names.insert(name);
      return "";
    });
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> Fill(const std::vector<std::string>& command, const Values& values) {
  std::vector<std::string> filled;
  std::string missing;
  for (const std::string& word : command) {
    filled.push_back(Replaced(word, [&](const std::string& name) {
      const auto known = values.find(name);
      if (known == values.end()) missing = name;
      return known == values.end() ? "" : known->second;
    }));
  }
  if (missing.empty()) return filled;
  return absl::InvalidArgumentError(
      absl::StrCat("{", missing, "} in the command has no value; say what it was: --vary ", missing, "=VALUE"));
}

}  // namespace oomtrace
