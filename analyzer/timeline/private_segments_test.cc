#include "analyzer/timeline/private_segments.h"

#include "gtest/gtest.h"

namespace oomtrace {
namespace {

TEST(PrivateSegments, ABlockBelongsWhereItLiesAndWhenItWasMade) {
  const std::vector<PrivateSegment> segments = {
      {.address = 0x1000, .bytes = 0x100, .born = 10, .taken = 50, .pool = 3, .device = 1}};
  const PrivateSegments found(segments);
  EXPECT_EQ(found.Of(1, 0x1000, 10), segments.data());
  EXPECT_EQ(found.Of(1, 0x10ff, 50), segments.data());
  EXPECT_EQ(found.Of(1, 0x1100, 20), nullptr) << "behind its end";
  EXPECT_EQ(found.Of(1, 0x0fff, 20), nullptr) << "before its begin";
  EXPECT_EQ(found.Of(0, 0x1000, 20), nullptr) << "another device";
  EXPECT_EQ(found.Of(2, 0x1000, 20), nullptr) << "another device";
  EXPECT_EQ(found.Of(1, 0x1000, 9), nullptr) << "made before the segment";
  EXPECT_EQ(found.Of(1, 0x1000, 51), nullptr) << "made after the snapshot";
}

TEST(PrivateSegments, TheLastSnapshotOfAnAddressCounts) {
  const std::vector<PrivateSegment> segments = {
      {.address = 0x1000, .bytes = 0x100, .taken = 50, .pool = 3},
      {.address = 0x1000, .bytes = 0x100, .taken = 90, .pool = 4},
  };
  EXPECT_EQ(PrivateSegments(segments).Of(0, 0x1010, 60), &segments[1]);
}

}  // namespace
}  // namespace oomtrace
