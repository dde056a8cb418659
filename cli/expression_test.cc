#include "cli/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Expression, FollowsPython) {
  const Values v = {{"b", "3"}, {"x_1", "-7"}};
  EXPECT_EQ(*Evaluate("512//b", v), 170);
  EXPECT_EQ(*Evaluate("1 + 2 * 3 - 4 % 3", v), 6);
  EXPECT_EQ(*Evaluate(" (1 + 2) * b ", v), 9);
  EXPECT_EQ(*Evaluate("x_1 // 2", v), -4);
  EXPECT_EQ(*Evaluate("x_1 % 2", v), 1);
  EXPECT_EQ(*Evaluate("7 % -2", v), -1);
  EXPECT_EQ(*Evaluate("--b", v), 3);
  EXPECT_EQ(*Evaluate("-b % 2", v), 1);
  EXPECT_EQ(*Evaluate("100 // 7 // 2", v), 7);
}

TEST(Expression, SaysWhatIsWrongAndWhere) {
  const auto message = [](const std::string& text) {
    return std::string(Evaluate(text, {{"lr", "1e-3"}}).status().message());
  };
  EXPECT_THAT(message("1 +"), HasSubstr("at character 4"));
  EXPECT_THAT(message("c"), HasSubstr("--vary gives no c"));
  EXPECT_THAT(message("lr * 2"), HasSubstr("lr=1e-3 is no whole number"));
  EXPECT_THAT(message("1 // 0"), HasSubstr("division by zero"));
  EXPECT_THAT(message("9223372036854775807 + 1"), HasSubstr("too large"));
  EXPECT_THAT(message("(-9223372036854775807 - 1) // -1"), HasSubstr("too large"));
  EXPECT_THAT(message("-(-9223372036854775807 - 1)"), HasSubstr("too large"));
  EXPECT_THAT(message(std::string(100000, '(')), HasSubstr("too many levels"));
  EXPECT_THAT(message(std::string(100000, '-') + "1"), HasSubstr("too many levels"));
  for (const char* text : {"", "1 2", "(1", "1)", "__import__('os')", "1.5", "2 ** 3", "1 / 2", "9223372036854775808"})
    EXPECT_FALSE(Evaluate(text, {}).ok()) << text;
}

TEST(Expression, NamesAndLooks) {
  EXPECT_THAT(NamesOf("512//b_1 + x2(2y"), ElementsAre("b_1", "x2"));
  for (const char* text : {"b", "512//b", "(b", "b b"}) EXPECT_TRUE(LooksLikeExpression(text)) << text;
  for (const char* text : {"", "1", "\"b\": 1", "b, c", "b.c", "'b'"}) EXPECT_FALSE(LooksLikeExpression(text)) << text;
}

// A random expression beside its value, so that the parser is held against one that knows no syntax.
struct Made {
  std::string text;
  int64_t value = 0;
};

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0); }

Made Make(std::mt19937& random, int depth) {
  if (depth == 0 || random() % 4 == 0) {
    const int64_t value = random() % 20;
    return value == 7 ? Made{"seven", 7} : Made{absl::StrCat(value), value};
  }
  const Made a = Make(random, depth - 1), b = Make(random, depth - 1);
  const std::string left = absl::StrCat("(", a.text, ")"), right = absl::StrCat("(", b.text, ")");
  switch (random() % 6) {
    case 0:
      return {absl::StrCat(left, "+", right), a.value + b.value};
    case 1:
      return {absl::StrCat(left, " - ", right), a.value - b.value};
    case 2:
      return {absl::StrCat(left, "*", right), a.value * b.value};
    case 3:
      return {absl::StrCat("-", left), -a.value};
    case 4:
      if (b.value != 0) return {absl::StrCat(left, "//", right), FloorDivide(a.value, b.value)};
      return a;
    default:
      if (b.value != 0) return {absl::StrCat(left, "% ", right), a.value - FloorDivide(a.value, b.value) * b.value};
      return a;
  }
}

TEST(Expression, AgreesWithWhatRandomOnesWereMadeFrom) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    const Made made = Make(random, 3);
    const auto value = Evaluate(made.text, {{"seven", "7"}});
    ASSERT_TRUE(value.ok()) << value.status() << " " << made.text;
    EXPECT_EQ(*value, made.value) << made.text;
  }
}

TEST(Expression, NoTextBreaksIt) {
  std::mt19937 random(1);
  const std::string letters = "0123456789ab+-*/%() {}_.";
  int good = 0;
  for (int i = 0; i < 200000; ++i) {
    std::string text;
    for (size_t k = random() % 12; k > 0; --k) text += letters[random() % letters.size()];
    good += Evaluate(text, {{"a", "5"}, {"b", "-1"}}).ok() ? 1 : 0;
  }
  EXPECT_GT(good, 1000);
}

}  // namespace
}  // namespace oomtrace
