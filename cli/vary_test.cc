#include "cli/vary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Vary, FillsNamesAndLeavesOtherBraces) {
  const std::vector<std::string> command = {"python", "t.py", "--bs={batch_size}", "{\"lr\": 1}", "{}", "${HOME}x{n}"};
  EXPECT_THAT(NamesIn(command), ElementsAre("batch_size", "n"));
  const auto filled = Fill({"--bs={batch_size}x{batch_size}", "{\"lr\": 1}", "{}", "${HOME}"}, {{"batch_size", "8"}});
  ASSERT_TRUE(filled.ok());
  EXPECT_THAT(*filled, ElementsAre("--bs=8x8", "{\"lr\": 1}", "{}", "${HOME}"));
}

TEST(Vary, FillsExpressions) {
  const std::vector<std::string> command = {"--acc={512//batch_size}", "{2*n}x{n + 1}"};
  EXPECT_THAT(NamesIn(command), ElementsAre("batch_size", "n"));
  const auto filled = Fill(command, {{"batch_size", "12"}, {"n", "4"}});
  ASSERT_TRUE(filled.ok()) << filled.status();
  EXPECT_THAT(*filled, ElementsAre("--acc=42", "8x5"));
}

TEST(Vary, JsonKeepsItsBracesRoundAPlace) {
  const auto filled = Fill({R"({"train": {"batch_size": {batch_size}, "x": {}}})", "{{batch_size}}", "{a: {b}}"},
                           {{"batch_size", "8"}, {"b", "1"}});
  ASSERT_TRUE(filled.ok()) << filled.status();
  EXPECT_THAT(*filled, ElementsAre(R"({"train": {"batch_size": 8, "x": {}}})", "{batch_size}", "{a: 1}"));
}

TEST(Vary, SaysWhichValueIsMissing) {
  const auto filled = Fill({"{accumulation}"}, {{"batch_size", "8"}});
  ASSERT_FALSE(filled.ok());
  EXPECT_THAT(std::string(filled.status().message()), HasSubstr("--vary accumulation=VALUE"));
}

// The job would get the braces as they stand and fail by something else.
TEST(Vary, RefusesWhatWasMeantAsAnExpression) {
  for (const char* word : {"{512/batch_size}", "{batch_size**2}", "{0.5*batch_size}", "{min(4, batch_size)}"}) {
    const auto filled = Fill({word}, {{"batch_size", "8"}});
    ASSERT_FALSE(filled.ok()) << word;
  }
  EXPECT_THAT(std::string(Fill({"{512//(batch_size-8)}"}, {{"batch_size", "8"}}).status().message()),
              HasSubstr("division by zero"));
}

TEST(Vary, ReadsNameAndValue) {
  const auto value = ParseValue("batch_size=64");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->first, "batch_size");
  EXPECT_EQ(value->second, "64");
  for (const char* bad : {"batch_size", "=4", "8x=4", "batch size=4", "batch_size="})
    EXPECT_FALSE(ParseValue(bad).ok()) << bad;
}

TEST(Vary, ReadsRangesAndLists) {
  const auto range = ParseVariation("batch_size=1..256");
  ASSERT_TRUE(range.ok());
  EXPECT_EQ(range->first, 1);
  EXPECT_EQ(range->last, 256);
  EXPECT_TRUE(range->values.empty());
  EXPECT_THAT(ParseVariation("seq=512,1024")->values, ElementsAre(512, 1024));
  EXPECT_THAT(ParseVariation("seq=512")->values, ElementsAre(512));
  for (const char* text : {"batch_size", "=1..2", "b=", "b=2..1", "b=0..4", "b=1..x", "b=1,,2", "1b=1..2", "b=2,2",
                           "b=1..9999999999999999", "b=-1,2"})
    EXPECT_FALSE(ParseVariation(text).ok()) << text;
}

TEST(Vary, NoWordBreaksIt) {
  std::mt19937 random(1);
  const std::string letters = "{}$\":ab1+*/ ";
  int unchanged = 0;
  for (int i = 0; i < 100000; ++i) {
    std::string word;
    for (size_t k = random() % 14; k > 0; --k) word += letters[random() % letters.size()];
    const auto filled = Fill({word}, {{"a", "5"}, {"b", "7"}});
    if (filled.ok() && filled->front() == word) ++unchanged;
    // A word without a place comes out as it went in.
    if (NamesIn({word}).empty() && word.find("{{") == std::string::npos && filled.ok()) {
      EXPECT_EQ(filled->front(), word);
    }
  }
  EXPECT_GT(unchanged, 10000);
}

}  // namespace
}  // namespace oomtrace
