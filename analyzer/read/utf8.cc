#include "analyzer/read/utf8.h"

#include <cstdint>

namespace oomtrace {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool Continues(std::string_view bytes, size_t at) {
  return at < bytes.size() && (static_cast<uint8_t>(bytes[at]) & 0xc0) == 0x80;
}

// Length of the well-formed sequence at `at` (the Unicode standard, table 3-7), 0 where there is none.
size_t SequenceLength(std::string_view bytes, size_t at) {
  const uint8_t first = static_cast<uint8_t>(bytes[at]);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4 || !Continues(bytes, at + 1)) return 0;
  if (first < 0xe0) return 2;
  const uint8_t second = static_cast<uint8_t>(bytes[at + 1]);
  if (!Continues(bytes, at + 2)) return 0;
  if (first < 0xf0) return (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ? 0 : 3;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return Continues(bytes, at + 3) ? 4 : 0;
}

}  // namespace

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = SequenceLength(bytes, at);
    if (length == 0) {
      text += kReplacement;
      ++at;
    } else {
      text += bytes.substr(at, length);
      at += length;
    }
  }
  return text;
}

}  // namespace oomtrace
