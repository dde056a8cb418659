#include "cli/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace oomtrace {
namespace {

using ::testing::Contains;
using ::testing::Not;

TEST(Environment, PreloadKeepsWhatWasThereBehindOurs) {
  Environment environment;
  environment.Set("LD_PRELOAD", "/lib/jemalloc.so /lib/other.so");
  environment.Preload({"/opt/recorder.so", "/opt/gpu.so"});
  EXPECT_EQ(environment.Get("LD_PRELOAD"), "/opt/recorder.so:/opt/gpu.so:/lib/jemalloc.so:/lib/other.so");
}

TEST(Environment, PreloadDoesNotRepeatALibrary) {
  Environment environment;
  environment.Set("LD_PRELOAD", "/lib/a.so:/opt/recorder.so");
  environment.Preload({"/opt/recorder.so"});
  EXPECT_EQ(environment.Get("LD_PRELOAD"), "/opt/recorder.so:/lib/a.so");
}

TEST(Environment, InheritsAndReplaces) {
  setenv("OOMTRACE_TEST_VARIABLE", "a=b", 1);
  Environment environment = Environment::Inherited();
  EXPECT_EQ(environment.Get("OOMTRACE_TEST_VARIABLE"), "a=b");
  environment.Set("OOMTRACE_TEST_VARIABLE", "c");
  EXPECT_THAT(environment.Lines(), Contains("OOMTRACE_TEST_VARIABLE=c"));
  EXPECT_THAT(environment.Lines(), Not(Contains("OOMTRACE_TEST_VARIABLE=a=b")));
  EXPECT_EQ(environment.Get("OOMTRACE_NEVER_SET"), "");
}

}  // namespace
}  // namespace oomtrace
