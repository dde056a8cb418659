// A string that is kept once for the whole process. Millions of tensors bear a few thousand names: each costs them a
// pointer. Reads as a std::string; assigning to it interns. Safe to use on any thread.
#pragma once

#include <ostream>
#include <string>
#include <string_view>

namespace oomtrace {

class InternedText {
 public:
  InternedText() = default;
  InternedText& operator=(std::string_view text) {
    text_ = Intern(text);
    return *this;
  }

  operator const std::string&() const { return str(); }
  const std::string& str() const { return text_ == nullptr ? Empty() : *text_; }
  bool empty() const { return text_ == nullptr; }

  friend bool operator==(const InternedText& a, const InternedText& b) { return a.text_ == b.text_; }
  friend bool operator==(const InternedText& a, std::string_view b) { return a.str() == b; }
  friend std::ostream& operator<<(std::ostream& out, const InternedText& text) { return out << text.str(); }

 private:
  static const std::string* Intern(std::string_view text);  // null for ""
  static const std::string& Empty();

  const std::string* text_ = nullptr;
};

}  // namespace oomtrace
