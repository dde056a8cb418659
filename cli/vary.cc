#include "cli/vary.h"

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

using Replace = std::function<absl::StatusOr<std::string>(const std::string& place)>;

// Whether braces with this in them are meant as a place. `values`: names that nobody writes in braces by chance.
bool IsPlace(const std::string& text, const Values& values) {
  if (LooksLikeExpression(text)) return true;
  if (text.find_first_of("\"':{\n") != std::string::npos) return false;
  for (const std::string& name : NamesOf(text)) {
    if (values.contains(name)) return true;
  }
  return false;
}

// The word with each place replaced by what `replace` gives.
absl::StatusOr<std::string> Replaced(const std::string& word, const Values& values, const Replace& replace) {
  std::string out;
  for (size_t at = 0; at < word.size();) {
    const bool doubled = word.compare(at, 2, "{{") == 0;
    const size_t open = doubled ? at + 1 : at;
    const size_t close = word[at] == '{' ? word.find('}', open) : std::string::npos;
    const std::string place = close == std::string::npos ? "" : word.substr(open + 1, close - open - 1);
    const bool shell = at > 0 && word[at - 1] == '$';
    if (shell || close == std::string::npos || !IsPlace(place, values)) {
      out += word[at++];
    } else if (doubled && word.compare(close, 2, "}}") == 0) {
      absl::StrAppend(&out, "{", place, "}");
      at = close + 2;
    } else if (doubled) {
      out += word[at++];
    } else {
      const absl::StatusOr<std::string> value = replace(place);
      if (!value.ok()) return value.status();
      out += *value;
      at = close + 1;
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

absl::StatusOr<Variation> ParseVariation(const std::string& text) {
  constexpr int64_t kLargest = int64_t{1} << 40;
  const auto number = [](absl::string_view part, int64_t& value) {
    return absl::SimpleAtoi(part, &value) && value >= 1 && value <= kLargest;
  };
  const auto bad = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--vary ", text, ": ", why, "expected NAME=FIRST..LAST, such as batch_size=1..256, or NAME=1,2,4; from 1 on"));
  };
  const std::pair<std::string, std::string> sides = absl::StrSplit(text, absl::MaxSplits('=', 1));
  Variation variation;
  variation.name = sides.first;
  if (!IsName(variation.name)) return bad("");
  if (const size_t dots = sides.second.find(".."); dots != std::string::npos) {
    if (!number(sides.second.substr(0, dots), variation.first) ||
        !number(sides.second.substr(dots + 2), variation.last)) {
      return bad("");
    }
    if (variation.last < variation.first) return bad("the range ends before it begins; ");
    return variation;
  }
  for (const absl::string_view part : absl::StrSplit(sides.second, ',')) {
    int64_t value = 0;
    if (!number(part, value)) return bad("");
    for (const int64_t before : variation.values) {
      if (value == before) return bad(absl::StrCat(value, " stands there twice; "));
    }
    variation.values.push_back(value);
  }
  return variation;
}

std::set<std::string> NamesIn(const std::vector<std::string>& command) {
  std::set<std::string> names;
  for (const std::string& word : command) {
    Replaced(word, {}, [&](const std::string& place) -> absl::StatusOr<std::string> {
      names.merge(NamesOf(place));
      return "";
    }).IgnoreError();
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> Fill(const std::vector<std::string>& command, const Values& values) {
  std::vector<std::string> filled;
  for (const std::string& word : command) {
    absl::StatusOr<std::string> one =
        Replaced(word, values, [&](const std::string& place) -> absl::StatusOr<std::string> {
          for (const std::string& name : NamesOf(place)) {
            if (values.contains(name) || !LooksLikeExpression(place)) continue;
            return absl::InvalidArgumentError(
                absl::StrCat("{", place, "} in the command: ", name, " has no value; say what it is: --vary ", name,
                             "=VALUE; braces of the command's own are written {{", place, "}}"));
          }
          if (const auto known = values.find(place); known != values.end()) return known->second;
          const absl::StatusOr<int64_t> value = Evaluate(place, values);
          if (!value.ok()) return value.status();
          return absl::StrCat(*value);
        });
    if (!one.ok()) return one.status();
    filled.push_back(*std::move(one));
  }
  return filled;
}

}  // namespace oomtrace
