#include "cli/vary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Vary, FillsNamesAndLeavesOtherBraces) {
  const std::vector<std::string> command = {"python", "t.py", "--bs={batch_size}", "{\"lr\": 1}", "{}", "${HOME}x{n}"};
  EXPECT_THAT(NamesIn(command), ElementsAre("HOME", "batch_size", "n"));
  const auto filled = Fill({"--bs={batch_size}x{batch_size}", "{\"lr\": 1}", "{}"}, {{"batch_size", "8"}});
  ASSERT_TRUE(filled.ok());
  EXPECT_THAT(*filled, ElementsAre("--bs=8x8", "{\"lr\": 1}", "{}"));
}

TEST(Vary, SaysWhichValueIsMissing) {
  const auto filled = Fill({"{accumulation}"}, {{"batch_size", "8"}});
  ASSERT_FALSE(filled.ok());
  EXPECT_THAT(std::string(filled.status().message()), HasSubstr("--vary accumulation=VALUE"));
}

TEST(Vary, ReadsNameAndValue) {
  const auto value = ParseValue("batch_size=64");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->first, "batch_size");
  EXPECT_EQ(value->second, "64");
  for (const char* bad : {"batch_size", "=4", "8x=4", "batch size=4", "batch_size="})
    EXPECT_FALSE(ParseValue(bad).ok()) << bad;
}

}  // namespace
}  // namespace oomtrace
