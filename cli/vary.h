// Commands with places for values: "python train.py --bs {batch_size}".
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oomtrace {

using Values = std::map<std::string, std::string>;

// "batch_size=64" → {"batch_size", "64"}. InvalidArgument for anything else.
absl::StatusOr<std::pair<std::string, std::string>> ParseValue(const std::string& text);

// The names in braces in a command: letters, digits and underscores, not a digit first. Other braces are the command's
// own.
std::set<std::string> NamesIn(const std::vector<std::string>& command);

// The command with each {name} replaced. InvalidArgument names a place without a value.
absl::StatusOr<std::vector<std::string>> Fill(const std::vector<std::string>& command, const Values& values);

}  // namespace oomtrace
