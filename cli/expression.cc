#include "cli/expression.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool InName(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// sum := product (("+" | "-") product)*, product := unary (("*" | "//" | "%") unary)*, unary := "-" unary | atom,
// atom := number | name | "(" sum ")".
class Parser {
 public:
  Parser(const std::string& text, const Values& values) : text_(text), values_(values) {}

  absl::StatusOr<int64_t> Parse() {
    int64_t value = 0;
    if (Sum(value) && !AtEnd()) Fail("an operator was expected");
    if (!error_.ok()) return error_;
    return value;
  }

 private:
  // Deeper nesting is refused: each level is a frame of the stack.
  static constexpr int kDeepest = 100;

  bool Fail(const std::string& why) {
    if (error_.ok()) {
      error_ = absl::InvalidArgumentError(absl::StrCat("{", text_, "}: ", why, " at character ", at_ + 1,
                                                       "; it may hold whole numbers, names, + - * // % and ( )"));
    }
    return false;
  }
  bool AtEnd() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return at_ == text_.size();
  }
  bool Take(const std::string& sign) {
    if (AtEnd() || text_.compare(at_, sign.size(), sign) != 0) return false;
    at_ += sign.size();
    return true;
  }

  bool Sum(int64_t& value) {
    if (!Product(value)) return false;
    for (;;) {
      int64_t right = 0;
      if (Take("+")) {
        if (!Product(right)) return false;
        if (__builtin_add_overflow(value, right, &value)) return Fail("the sum is too large");
      } else if (Take("-")) {
        if (!Product(right)) return false;
        if (__builtin_sub_overflow(value, right, &value)) return Fail("the difference is too large");
      } else {
        return true;
      }
    }
  }

  bool Product(int64_t& value) {
    if (!Unary(value)) return false;
    for (;;) {
      int64_t right = 0;
      if (Take("*")) {
        if (!Unary(right)) return false;
        if (__builtin_mul_overflow(value, right, &value)) return Fail("the product is too large");
      } else if (const bool divide = Take("//"); divide || Take("%")) {
        if (!Unary(right)) return false;
        if (!Divide(divide, right, value)) return false;
      } else {
        return true;
      }
    }
  }

  // As Python: rounded down, the rest has the divisor's sign.
  bool Divide(bool quotient, int64_t right, int64_t& value) {
    if (right == 0) return Fail("a division by zero");
    if (right == -1 && value == INT64_MIN) return Fail("the quotient is too large");
    const bool inexact = value % right != 0 && (value < 0) != (right < 0);
    value = quotient ? value / right - (inexact ? 1 : 0) : value % right + (inexact ? right : 0);
    return true;
  }

  bool Unary(int64_t& value) {
    if (++depth_ > kDeepest) return Fail("too many levels");
    bool good = true;
    if (Take("-")) {
      good = Unary(value);
      if (good && __builtin_sub_overflow(int64_t{0}, value, &value)) good = Fail("the number is too large");
    } else {
      good = Atom(value);
    }
    --depth_;
    return good;
  }

  bool Atom(int64_t& value) {
    if (Take("(")) {
      if (!Sum(value)) return false;
      return Take(")") || Fail("\")\" was expected");
    }
    if (AtEnd()) return Fail("a number or a name was expected");
    size_t end = at_;
    while (end < text_.size() && InName(text_[end])) ++end;
    const std::string word = text_.substr(at_, end - at_);
    if (IsName(word)) {
      const auto found = values_.find(word);
      if (found == values_.end()) return Fail(absl::StrCat("--vary gives no ", word));
      if (!absl::SimpleAtoi(found->second, &value))
        return Fail(absl::StrCat(word, "=", found->second, " is no whole number"));
    } else if (!absl::SimpleAtoi(word, &value)) {
      return Fail("a number or a name was expected");
    }
    at_ = end;
    return true;
  }

  const std::string& text_;
  const Values& values_;
  size_t at_ = 0;
  int depth_ = 0;
  absl::Status error_;
};

}  // namespace

bool IsName(const std::string& text) {
  if (text.empty() || IsDigit(text.front())) return false;
  for (const char c : text) {
    if (!InName(c)) return false;
  }
  return true;
}

std::set<std::string> NamesOf(const std::string& text) {
  std::set<std::string> names;
  for (size_t at = 0; at < text.size(); ++at) {
    size_t end = at;
    while (end < text.size() && InName(text[end])) ++end;
    const std::string word = text.substr(at, end - at);
    if (IsName(word)) names.insert(word);
    if (end > at) at = end - 1;
  }
  return names;
}

bool LooksLikeExpression(const std::string& text) {
  for (const char c : text) {
    if (!InName(c) && std::string(" +-*/%()").find(c) == std::string::npos) return false;
  }
  return !NamesOf(text).empty();
}

absl::StatusOr<int64_t> Evaluate(const std::string& text, const Values& values) { return Parser(text, values).Parse(); }

}  // namespace oomtrace
