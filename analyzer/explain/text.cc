#include "analyzer/explain/text.h"

#include "absl/strings/ascii.h"

namespace oomtrace {
namespace {

constexpr size_t kLongest = 300;

}  // namespace

std::string Shortened(std::string_view text) {
  std::string quote(absl::StripAsciiWhitespace({text.data(), text.size()}));
  absl::RemoveExtraAsciiWhitespace(&quote);
  if (quote.size() > kLongest) {
    quote.resize(kLongest);
    while (!quote.empty() && (static_cast<unsigned char>(quote.back()) & 0xC0) == 0x80) quote.pop_back();
    if (!quote.empty() && static_cast<unsigned char>(quote.back()) >= 0xC0) quote.pop_back();
    quote += "...";
  }
  return quote;
}

}  // namespace oomtrace
