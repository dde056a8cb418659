#include "analyzer/explain/amount.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"

namespace oomtrace {

std::optional<Amount> ParseAmount(std::string_view number, std::string_view unit, bool decimal) {
  const std::string digits = absl::StrReplaceAll({number.data(), number.size()}, {{",", ""}});
  double value = 0;
  if (!absl::SimpleAtod(digits, &value) || !std::isfinite(value) || value < 0) return std::nullopt;
  double scale = 1;
  const char first = unit.empty() ? 'b' : absl::ascii_tolower(static_cast<unsigned char>(unit[0]));
  const double step = decimal && unit.size() == 2 ? 1000 : 1024;
  for (const char prefix : {'k', 'm', 'g', 't'}) {
    scale *= step;
    if (first == prefix) break;
    if (prefix == 't') scale = 1;
  }
  constexpr double kMost = 9007199254740992.0;  // 2^53: beyond it a double skips bytes
  if (value * scale > kMost) return std::nullopt;
  const size_t point = digits.find('.');
  const double decimals = point == std::string::npos ? 0 : static_cast<double>(digits.size() - point - 1);
  Amount amount;
  amount.bytes = std::llround(value * scale);
  amount.rounding = scale == 1 ? 0 : std::llround(std::ceil(scale * std::pow(10.0, -decimals) / 2));
  return amount;
}

}  // namespace oomtrace
