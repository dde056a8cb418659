#include "simgpu/devices.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace oomtrace::simgpu {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

TEST(Devices, NamesAreUniqueAndFindThemselves) {
  std::set<std::string> names;
  for (const GpuModel& model : GpuModels()) {
    EXPECT_TRUE(names.insert(model.name).second) << model.name;
    const auto found = FindGpu(model.name);
    ASSERT_TRUE(found) << model.name;
    EXPECT_EQ(found->total_bytes, model.total_bytes);
    EXPECT_NE(GpuNames().find(model.name), std::string::npos);
  }
}

TEST(Devices, NamesIgnoreCaseAndSeparators) {
  for (const char* name : {"rtx4070", "RTX 4070", "Rtx-4070", "rtx_4070"}) {
    const auto found = FindGpu(name);
    ASSERT_TRUE(found) << name;
    EXPECT_STREQ(found->name, "rtx4070");
  }
  EXPECT_STREQ(FindGpu("A100_40GB")->name, "a100-40gb");
}

TEST(Devices, TotalsPrintAsInRealReports) {
  const auto gib = [](const char* name) { return FindGpu(name)->total_bytes / kGiB; };
  EXPECT_NEAR(gib("rtx4070"), 11.69, 0.005);
  EXPECT_NEAR(gib("rtx3090"), 23.68, 0.005);
  EXPECT_NEAR(gib("a100-40gb"), 39.56, 0.005);
  EXPECT_NEAR(gib("h100"), 79.19, 0.005);
}

TEST(Devices, EveryCardHasConsistentLimits) {
  for (const GpuModel& model : GpuModels()) {
    const CapabilityLimits& limits = LimitsOf(model.capability_major, model.capability_minor);
    EXPECT_EQ(limits.major, model.capability_major) << model.name;
    EXPECT_EQ(limits.minor, model.capability_minor) << model.name;
    EXPECT_LE(limits.shared_per_block_optin, limits.shared_per_multiprocessor) << model.name;
    EXPECT_GT(model.multiprocessors, 0) << model.name;
    EXPECT_GT(model.context_bytes, 0) << model.name;
    EXPECT_NE(model.total_source, nullptr);
  }
}

TEST(Devices, CapacityMakesACardLikeAnRtx4070) {
  const auto card = FindGpu("12GiB");
  ASSERT_TRUE(card);
  EXPECT_EQ(card->total_bytes, int64_t{12} << 30);
  EXPECT_EQ(card->capability_major, 8);
  EXPECT_EQ(card->capability_minor, 9);
}

TEST(Devices, UnknownNamesAndTinyCapacitiesAreRefused) {
  for (const char* name : {"", "rtx9999", "4070", "GiB", "-12GiB", "12 parsecs", "nan", "inf"}) {
    EXPECT_FALSE(FindGpu(name)) << name;
  }
}

TEST(ParseBytes, Units) {
  EXPECT_EQ(ParseBytes("1073741824"), int64_t{1} << 30);
  EXPECT_EQ(ParseBytes("1GiB"), int64_t{1} << 30);
  EXPECT_EQ(ParseBytes("1 GiB"), int64_t{1} << 30);
  EXPECT_EQ(ParseBytes("0.5gib"), int64_t{1} << 29);
  EXPECT_EQ(ParseBytes("2MiB"), int64_t{2} << 20);
  EXPECT_EQ(ParseBytes("24GB"), int64_t{24'000'000'000});
  EXPECT_EQ(ParseBytes("0"), 0);
  EXPECT_FALSE(ParseBytes("GiB"));
  EXPECT_FALSE(ParseBytes("1e30GiB"));
  EXPECT_FALSE(ParseBytes("1.5.2GiB"));
}

}  // namespace
}  // namespace oomtrace::simgpu
