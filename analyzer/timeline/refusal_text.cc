#include "analyzer/timeline/refusal_text.h"

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"

namespace oomtrace {
namespace {

// "5.85 GiB…": c10's format_size.
bool ReadSize(std::string_view text, double* bytes) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || !absl::SimpleAtod(std::string(text.substr(0, space)), bytes)) return false;
  const std::string_view unit = text.substr(space + 1);
  if (unit.starts_with("KiB")) *bytes *= 1024;
  if (unit.starts_with("MiB")) *bytes *= 1048576;
  if (unit.starts_with("GiB")) *bytes *= 1073741824;
  return true;
}

// After `mark`, blanks and line ends aside; 0 where there is none.
double SizeAfter(std::string_view text, std::string_view mark) {
  const size_t at = text.find(mark);
  double bytes = 0;
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + mark.size());
  while (!text.empty() && (text[0] == ' ' || text[0] == ':' || text[0] == '\n')) text.remove_prefix(1);
  return ReadSize(text, &bytes) ? bytes : 0;
}

// The size that ends in front of `mark`: " 5.85 GiB allowed; ".
double SizeBefore(std::string_view text, std::string_view mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return 0;
  text = text.substr(0, at);
  const size_t unit = text.rfind(' ');
  if (unit == std::string_view::npos || unit == 0) return 0;
  const size_t number = text.rfind(' ', unit - 1);
  double bytes = 0;
  return ReadSize(text.substr(number == std::string_view::npos ? 0 : number + 1), &bytes) ? bytes : 0;
}

}  // namespace

int64_t PrivatePoolsIn(std::string_view text) {
  if (text.find("is allocated by PyTorch") == std::string_view::npos) return -1;
  return std::llround(SizeBefore(text, " allocated in private pools"));
}

int64_t LimitIn(std::string_view text) {
  double limit = SizeBefore(text, " allowed; ");
  if (limit == 0) limit = SizeAfter(text, "would exceed memory limit (");
  if (limit == 0) {
    limit = SizeAfter(text, "PyTorch limit (set by user-supplied memory fraction)");
    if (limit >= SizeAfter(text, "Device limit")) return 0;
  }
  return limit > 0 && limit < 1e18 ? std::llround(limit) : 0;
}

}  // namespace oomtrace
