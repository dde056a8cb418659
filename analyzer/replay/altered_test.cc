#include "analyzer/replay/altered.h"

#include <gtest/gtest.h>

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;

// 100 MiB from 10 to 90, 20 MiB from 20 to 30, 60 MiB from 40 to 50.
Timeline Example() {
  Timeline timeline;
  const auto add = [&](int64_t bytes, int64_t born, int64_t died) {
    Tensor tensor;
    tensor.bytes = bytes;
    tensor.born = born;
    tensor.died = died;
    timeline.tensors.push_back(tensor);
  };
  add(100 * kMiB, 10, 90);
  add(20 * kMiB, 20, 30);
  add(60 * kMiB, 40, 50);
  timeline.end = 100;
  return timeline;
}

TEST(AlteredReplay, ThePeakIsThatOfTheStretch) {
  const Timeline timeline = Example();
  EXPECT_EQ(AlteredReplay(timeline, 0, 100).Peak({}), 160 * kMiB);
  EXPECT_EQ(AlteredReplay(timeline, 0, 35).Peak({}), 120 * kMiB);
  EXPECT_EQ(AlteredReplay(timeline, 60, 100).Peak({}), 100 * kMiB) << "what lived before the stretch counts";
  EXPECT_EQ(AlteredReplay(timeline, 95, 100).Peak({}), 0);
}

TEST(AlteredReplay, AnotherPeakComesNext) {
  const Timeline timeline = Example();
  const AlteredReplay replay(timeline, 0, 100);
  EXPECT_EQ(replay.Peak({{2, 40, 40}}), 120 * kMiB) << "not 100 MiB: the tensor of 20 MiB was there before";
  EXPECT_EQ(replay.Peak({{0, 10, 40}}), 120 * kMiB) << "what ends where another begins is gone by then";
  EXPECT_EQ(replay.Peak({{0, 45, 90}}), 160 * kMiB) << "born later, but not late enough";
  EXPECT_EQ(replay.Peak({{0, 50, 90}}), 100 * kMiB);
}

TEST(AlteredReplay, ARefusedRequestCountsAtItsTime) {
  const Timeline timeline = Example();
  const AlteredReplay replay(timeline, 0, 45, /*refused_at=*/45, /*refused=*/40 * kMiB);
  EXPECT_EQ(replay.Peak({}), 200 * kMiB);
  EXPECT_EQ(replay.Peak({{0, 10, 40}}), 120 * kMiB);
  AllocatorConfig config;
  config.capacity = 190 * kMiB;
  EXPECT_FALSE(replay.Reserved({}, config).fits);
  EXPECT_TRUE(replay.Reserved({{2, 40, 40}}, config).fits);
}

TEST(AlteredReplay, WhatIsFreedOnOneStreamServesNoOther) {
  Timeline timeline = Example();
  timeline.free_lists = {{.stream = 0, .pool = 0}, {.stream = 3, .pool = 0}, {.stream = 0, .pool = 1}};
  timeline.tensors[1].free_list = 1;
  EXPECT_EQ(AlteredReplay(timeline, 0, 100).Reserved({}, {}).peak_reserved, 180 * kMiB);
  EXPECT_EQ(AlteredReplay(timeline, 0, 100).Reserved({{1, 20, 20}}, {}).peak_reserved, 160 * kMiB);
  timeline.tensors[1].free_list = 2;
  EXPECT_FALSE(AlteredReplay(timeline, 0, 100).Reserved({}, {.capacity = 170 * kMiB}).fits)
      << "what lies idle in a private pool does not go back to the device";
}

}  // namespace
}  // namespace oomtrace
