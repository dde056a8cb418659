// Commands with places for values: "python train.py --bs {batch_size} --acc {512//batch_size}".
//
// A place is a name or an expression (expression.h) in braces. Braces that hold anything else ({"lr": 1}, {}) and those
// behind a dollar (${HOME}) are the command's own, and so is {name} where it is written {{name}}. Pure functions.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/expression.h"

namespace oomtrace {

// "batch_size=64" → {"batch_size", "64"}. InvalidArgument for anything else.
absl::StatusOr<std::pair<std::string, std::string>> ParseValue(const std::string& text);

// What `fit --vary` takes: batch_size=1..256 or width=512,768,1024. Values are 1 to 2^40.
struct Variation {
  std::string name;
  int64_t first = 0;  // of a range
  int64_t last = 0;
  std::vector<int64_t> values;  // of a list; empty for a range
};
absl::StatusOr<Variation> ParseVariation(const std::string& text);

// The names in the places of a command.
std::set<std::string> NamesIn(const std::vector<std::string>& command);

// The command with each place replaced: a name alone by its value, whatever it is. InvalidArgument: a place without a
// value, and braces that name one of `values` and are no expression: {512/batch_size}.
absl::StatusOr<std::vector<std::string>> Fill(const std::vector<std::string>& command, const Values& values);

}  // namespace oomtrace
