#include "cli/invocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SplitAtSeparator, OnlyTheFirstSeparatorCounts) {
  const char* argv[] = {"oomtrace", "run", "-o", "x", "--", "torchrun", "--", "train.py", "-o"};
  const Invocation invocation = SplitAtSeparator(9, argv);
  EXPECT_THAT(invocation.arguments, ElementsAre("run", "-o", "x"));
  EXPECT_THAT(invocation.command, ElementsAre("torchrun", "--", "train.py", "-o"));
  EXPECT_TRUE(invocation.has_separator);
}

TEST(SplitAtSeparator, WithoutSeparatorThereIsNoCommand) {
  const char* argv[] = {"oomtrace", "run", "python", "train.py"};
  const Invocation invocation = SplitAtSeparator(4, argv);
  EXPECT_FALSE(invocation.has_separator);
  EXPECT_THAT(invocation.command, IsEmpty());
}

TEST(WithSeparator, KeepsOwnOptionsAndQuotesWhatAShellWouldTakeApart) {
  const char* argv[] = {"oomtrace", "dryrun", "--gpu", "t4", "python", "-c", "print('a b')", "", "--lr=1e-3"};
  EXPECT_EQ(WithSeparator(SplitAtSeparator(9, argv), "python"),
            "oomtrace dryrun --gpu t4 -- python -c 'print('\\''a b'\\'')' '' --lr=1e-3");
}

}  // namespace
}  // namespace oomtrace
