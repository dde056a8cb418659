#include "analyzer/diagnose/words.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace oomtrace {

std::string Bytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; unit < 4 && (value >= 1024 || value <= -1024); ++unit) value /= 1024;
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.2f %s", value, kUnits[unit]);
}

std::string Shape(const std::vector<int64_t>& shape, const std::string& dtype) {
  return absl::StrCat("(", absl::StrJoin(shape, ", "), shape.size() == 1 ? ",)" : ")", dtype.empty() ? "" : " ", dtype);
}

std::string Described(const Layout& layout, int64_t bytes) {
  return layout.has_shape() ? Shape(layout.shape, layout.dtype) : absl::StrCat("one of ", Bytes(bytes));
}

std::string Percent(double share) {
  const int decimals = share != 0 && share < 0.0095 ? 1 : 0;
  return absl::StrFormat("%.*f %%", decimals, share * 100);
}

std::string Container(const std::string& holder) {
  const size_t end = std::min(holder.find(" ("), holder.size());
  for (size_t close = holder.rfind(']', end); close != std::string::npos && close > 0;
       close = holder.rfind(']', close - 1)) {
    const size_t open = holder.rfind('[', close);
    if (open == std::string::npos || open == 0) return holder;
    const std::string index = holder.substr(open + 1, close - open - 1);
    if (!index.empty() && index.find_first_not_of("0123456789") == std::string::npos)
      return absl::StrCat(holder.substr(0, open), holder.substr(end));
    close = open;
  }
  return holder;
}

std::string During(const std::string& phase) {
  if (phase == "set_up") return "during set-up";
  if (phase == "between_steps") return "between steps";
  return absl::StrCat("in ", absl::StrReplaceAll(phase, {{"_", " "}}));
}

std::string Count(int64_t n, const std::string& noun) {
  if (n == 1) return absl::StrCat("1 ", noun);
  return absl::StrCat(n, " ", noun, absl::EndsWith(noun, "ch") || absl::EndsWith(noun, "s") ? "es" : "s");
}

}  // namespace oomtrace
