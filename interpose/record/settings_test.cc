#include "interpose/record/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace oomtrace {
namespace {

uint64_t Size(const char* text) {
  uint64_t bytes = 7;
  return ParseSize(text, &bytes) ? bytes : 0;
}

TEST(Settings, Sizes) {
  EXPECT_EQ(Size("1048576"), 1u << 20);
  EXPECT_EQ(Size("64MiB"), 64u << 20);
  EXPECT_EQ(Size("64mb"), 64u << 20);
  EXPECT_EQ(Size("2G"), uint64_t{2} << 30);
  EXPECT_EQ(Size("0.5G"), 512u << 20);
  EXPECT_EQ(Size("1.25TiB"), (uint64_t{5} << 40) / 4);
  for (const char* nonsense : {"", "banana", "-5", "1e3G", "12 G", "12Gx", "1.G", ".5G", "G", "1X",
                               "99999999999999999999999", "999999999999T"}) {
    EXPECT_EQ(Size(nonsense), 0u) << nonsense;
  }
}

TEST(Settings, StepsAreCountedFromOne) {
  StepWindow window;
  EXPECT_EQ(window.first, 1u);
  EXPECT_EQ(window.last, 3u);
  for (const char* nonsense : {"", "x", "0", "0-3", "5-2", "3-", "-3", "3x", "1-2-3", "1234567890"}) {
    EXPECT_FALSE(ParseSteps(nonsense, &window)) << nonsense;
    EXPECT_EQ(window.last, 3u) << nonsense;
  }
  EXPECT_TRUE(ParseSteps("7", &window));
  EXPECT_EQ(window.first, 1u);
  EXPECT_EQ(window.last, 7u);
  EXPECT_TRUE(ParseSteps("10-12", &window));
  EXPECT_EQ(window.first, 10u);
  EXPECT_EQ(window.last, 12u);
}

TEST(Settings, Switches) {
  const auto with = [](const char* value, bool otherwise) {
    setenv("OOMTRACE_TEST_SWITCH", value, 1);
    return SwitchedOn("OOMTRACE_TEST_SWITCH", otherwise);
  };
  for (const char* off : {"0", "off", "OFF", "no", "False"}) EXPECT_FALSE(with(off, true)) << off;
  for (const char* on : {"1", "on", "Yes", "true"}) EXPECT_TRUE(with(on, false)) << on;
  for (const char* other : {"", "perhaps"}) {
    EXPECT_TRUE(with(other, true)) << other;
    EXPECT_FALSE(with(other, false)) << other;
  }
}

TEST(Settings, NonsenseIsNamedOnceWithWhatIsTaken) {
  setenv("OOMTRACE_BUDGET", "ban\nana", 1);
  setenv("OOMTRACE_TIMELINE", "5-2", 1);
  setenv("OOMTRACE_CUPTI", "mem", 1);
  ::testing::internal::CaptureStderr();
  SayNonsense();
  SayNonsense();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "oomtrace: OOMTRACE_BUDGET=ban?ana is no size such as 64M or 2GiB: 512M is taken\n"
            "oomtrace: OOMTRACE_TIMELINE=5-2 is neither a number of steps (3) nor a range of them, counted from 1 "
            "(10-12): 3 is taken\n");
  for (const char* name : {"OOMTRACE_BUDGET", "OOMTRACE_TIMELINE", "OOMTRACE_CUPTI"}) unsetenv(name);
}

}  // namespace
}  // namespace oomtrace
