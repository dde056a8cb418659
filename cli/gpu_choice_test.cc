#include "cli/gpu_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ChooseGpu, ANamedCardIsCanonicalAndHasNoCapacityOfItsOwn) {
  Environment environment;
  environment.Set("OOMTRACE_SIM_CAPACITY", "17");
  ASSERT_TRUE(ChooseGpu({"RTX 4070", "", "", 2}, environment).ok());
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_GPU"), "rtx4070");
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_CAPACITY"), "");
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_DEVICES"), "2");
}

TEST(ChooseGpu, ASizeIsACapacity) {
  Environment environment;
  ASSERT_TRUE(ChooseGpu({"12GiB", "1.5GiB", "256MiB", 1}, environment).ok());
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_CAPACITY"), "12884901888");
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_OTHER"), "1610612736");
  EXPECT_EQ(environment.Get("OOMTRACE_SIM_CONTEXT"), "268435456");
}

TEST(ChooseGpu, AnUnknownCardIsAnsweredWithTheNearestAndAll) {
  Environment environment;
  const absl::Status status = ChooseGpu({"rtx4071", "", "", 1}, environment);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean rtx4070"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a100-80gb"));
}

TEST(ChooseGpu, ASizeThatMakesNoSenseIsAnsweredWithWhatASizeIs) {
  for (const char* size : {"12", "0", "-1", "63MiB", "nan", "12XiB", "99999999GiB", "1e30GiB", "inf"}) {
    Environment environment;
    const absl::Status status = ChooseGpu({size, "", "", 1}, environment);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("--gpu ") + size + ": "));
    EXPECT_THAT(std::string(status.message()), HasSubstr("64MiB to 1TiB"));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("did you mean")));
  }
  Environment environment;
  EXPECT_THAT(std::string(ChooseGpu({"12", "", "", 1}, environment).message()), HasSubstr("12 bytes, too small"));
  EXPECT_THAT(std::string(ChooseGpu({"", "", "", 1}, environment).message()), HasSubstr("missing"));
  EXPECT_THAT(std::string(ChooseGpu({"4090", "", "", 1}, environment).message()), HasSubstr("did you mean rtx4090"));
}

TEST(ChooseGpu, ABadSizeNamesTheOption) {
  Environment environment;
  const absl::Status status = ChooseGpu({"rtx4070", "two", "", 1}, environment);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--other two"));
}

TEST(ChooseGpu, OthersCannotHoldMoreThanTheCard) {
  Environment environment;
  EXPECT_FALSE(ChooseGpu({"8GiB", "7GiB", "2GiB", 1}, environment).ok());
}

TEST(NearestGpu, IgnoresCaseAndPunctuation) {
  EXPECT_EQ(NearestGpu("A100 80 G"), "a100-80gb");
  EXPECT_EQ(NearestGpu("H-200"), "h200");
  EXPECT_EQ(NearestGpu("rtx4700"), "rtx4070");
}

}  // namespace
}  // namespace oomtrace
