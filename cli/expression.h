// Whole-number arithmetic in a command's braces: 512//(batch_size*world).
//
// Whole numbers, names, + - * // % and parentheses, with Python's precedence and rounding. Nothing is executed. Pure
// functions.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"

namespace oomtrace {

using Values = std::map<std::string, std::string>;

// Letters, digits and underscores, not a digit first.
bool IsName(const std::string& text);

// The names that stand in a text, whatever else is in it.
std::set<std::string> NamesOf(const std::string& text);

// Whether a text holds nothing that an expression could not hold, and at least one name: "a*(b" does, "a: 1" does not.
bool LooksLikeExpression(const std::string& text);

// InvalidArgument: what is wrong and where; so are numbers beyond 64 bits, a division by zero, a name without a value
// and one whose value is no whole number.
absl::StatusOr<int64_t> Evaluate(const std::string& text, const Values& values);

}  // namespace oomtrace
