#include "analyzer/render/page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

// Columns of UTF-8 text: continuation bytes and colour sequences take none.
size_t Columns(const std::string& text) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++columns;
    }
  }
  return columns;
}

}  // namespace

std::string Page::Paint(const char* code, const std::string& text) const {
  return color_ ? absl::StrCat("\033[", code, "m", text, "\033[0m") : text;
}

std::string Page::Dim(const std::string& text) const { return Paint("2", text); }
std::string Page::Good(const std::string& text) const { return Paint("32", text); }
std::string Page::Bad(const std::string& text) const { return Paint("31", text); }

void Page::Heading(const std::string& text) { Line(Paint("1", text)); }

void Page::Alert(const std::string& text) {
  Page plain(false, width_);
  plain.Paragraph("", text);
  std::string body = plain.text();
  if (!body.empty()) body.pop_back();
  Line(Paint("1;31", body));
}

void Page::Paragraph(const std::string& lead, const std::string& text) {
  const size_t indent = Columns(lead);
  std::string line = lead;
  size_t used = indent;
  bool first = true;
  for (absl::string_view piece : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const std::string word(piece);
    const size_t columns = Columns(word);
    if (!first && used + 1 + columns > static_cast<size_t>(width_)) {
      Line(line);
      line = std::string(indent, ' ');
      used = indent;
      first = true;
    }
    if (!first) {
      line += ' ';
      ++used;
    }
    line += word;
    used += columns;
    first = false;
  }
  Line(line);
}

}  // namespace oomtrace
