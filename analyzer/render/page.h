// Lines of text with headings, wrapped paragraphs and optional colour.
#pragma once

#include <string>

namespace oomtrace {

class Page {
 public:
  Page(bool color, int width) : color_(color), width_(width < 40 ? 40 : width) {}

  void Heading(const std::string& text);  // bold
  void Alert(const std::string& text);    // red and bold, wrapped
  void Line(const std::string& text) { text_ += text + "\n"; }
  // Wraps at `width`; the first line starts with `lead`, the others are indented as far.
  void Paragraph(const std::string& lead, const std::string& text);
  void Blank() { text_ += "\n"; }
  std::string Dim(const std::string& text) const;
  std::string Good(const std::string& text) const;
  std::string Bad(const std::string& text) const;

  const std::string& text() const { return text_; }

 private:
  std::string Paint(const char* code, const std::string& text) const;

  bool color_;
  int width_;
  std::string text_;
};

}  // namespace oomtrace
