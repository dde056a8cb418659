// The small parts: live set, samples, element types.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "analyzer/timeline/dtype.h"
#include "analyzer/timeline/live_set.h"
#include "analyzer/timeline/samples.h"

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(LiveSetTest, FindsTheBlockAnAddressIsIn) {
  LiveSet live;
  live.Add(1000, 100, 7);
  EXPECT_EQ(live.Find(999), -1);
  EXPECT_EQ(live.Find(1000), 7);
  EXPECT_EQ(live.Find(1099), 7);
  EXPECT_EQ(live.Find(1100), -1);
  EXPECT_EQ(live.Remove(1000), 7);
  EXPECT_EQ(live.Remove(1000), -1);
  EXPECT_EQ(live.bytes(), 0);
}

TEST(LiveSetTest, ANewBlockEndsThoseItOverlaps) {
  LiveSet live;
  live.Add(1000, 100, 1);
  live.Add(1100, 100, 2);
  live.Add(1300, 100, 3);
  EXPECT_THAT(live.Add(1050, 100, 4), ElementsAre(1, 2));
  EXPECT_THAT(live.Add(1050, 10, 5), ElementsAre(4));
  EXPECT_EQ(live.bytes(), 110);
  EXPECT_THAT(live.Add(1200, 100, 6), IsEmpty());
}

TEST(SampleSeriesTest, KeepsThePeakInBoundedSpace) {
  SampleSeries series;
  const int64_t events = 5 * static_cast<int64_t>(SampleSeries::kMost) + 3;
  for (int64_t i = 0; i < events; ++i) series.Add({i, i == 777'777 ? 1'000'000 : i % 1000, 0});
  const std::vector<Sample> samples = series.Take();
  EXPECT_LE(samples.size(), SampleSeries::kMost);
  EXPECT_GT(samples.size(), SampleSeries::kMost / 4);
  EXPECT_TRUE(
      std::is_sorted(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) { return a.time < b.time; }));
  EXPECT_EQ(
      std::count_if(samples.begin(), samples.end(), [](const Sample& sample) { return sample.tensors == 1'000'000; }),
      1);
}

TEST(DtypeTest, NumbersOfPyTorch) {
  EXPECT_EQ(DtypeName(6), "float32");
  EXPECT_EQ(DtypeName(15), "bfloat16");
  EXPECT_EQ(DtypeName(24), "float8_e4m3fn");
  EXPECT_EQ(DtypeName(45), "float4_e2m1fn_x2");
  EXPECT_EQ(DtypeName(-1), "dtype -1");
  EXPECT_EQ(DtypeBits(4), 64);
  EXPECT_EQ(DtypeBits(11), 8);
  EXPECT_EQ(DtypeBits(99), 0);
}

}  // namespace
}  // namespace oomtrace
