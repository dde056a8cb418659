#include "analyzer/timeline/folded_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {
namespace {

using oomtrace::testing::Kind;
using oomtrace::testing::TraceBuilder;

constexpr uint64_t kBase = 0x7f2000000000;

Step StepFrom(int64_t begin, int64_t end) {
  Step step;
  step.begin = begin;
  step.end = end;
  step.peak = step.live_at_end = 5;  // of what survived
  return step;
}

TEST(FoldedSteps, OneStepASpanIsExactAndLongerSpansAreLines) {
  std::vector<Step> steps = {StepFrom(0, 100), StepFrom(100, 200), StepFrom(200, 300), StepFrom(300, 400)};
  steps[3].peak = 60;
  ApplyFoldedSteps({{.time = 50, .end_time = 100, .peak = 70, .live = 30, .steps = 1},
                    {.time = 240, .end_time = 300, .peak = 90, .live = 50, .steps = 2},
                    {.time = 310, .end_time = 350, .peak = 80, .live = 75, .steps = 0}},
                   &steps);
  EXPECT_EQ(steps[0].peak, 70);
  EXPECT_EQ(steps[0].live_at_end, 30);
  EXPECT_EQ(steps[1].peak, 90);
  EXPECT_EQ(steps[1].live_at_end, 40);
  EXPECT_EQ(steps[2].peak, 90);
  EXPECT_EQ(steps[2].live_at_end, 50);
  EXPECT_EQ(steps[3].peak, 80) << "the part of the step that was folded";
  EXPECT_EQ(steps[3].live_at_end, 5) << "its end was not";
}

TEST(FoldedSteps, ThePeakOfWhatWasFoldedIsThePeak) {
  TraceBuilder builder;
  builder.EventsIn(Kind::kFold);
  builder.At(1000).Alloc(kBase, 1 << 20, {});
  builder.At(20000).FoldedSteps(10000, 64 << 20, 128 << 20, 2 << 20, 1);
  builder.EventsIn(Kind::kEvents);
  builder.At(40000).Alloc(kBase + (1 << 20), 1 << 20, {});
  builder.MemoryInfo(1 << 30, 2 << 30);
  const std::string path = ::testing::TempDir() + "/folded.oomtrace";
  std::ofstream(path, std::ios::binary) << builder.Finish();
  const auto timeline = ReadTimeline(path);
  ASSERT_TRUE(timeline.ok());
  EXPECT_EQ(timeline->folded_until, 30000);
  EXPECT_EQ(MomentOfInterest(*timeline), 20000);
  const DeviceUse use = DeviceUseAt(*timeline, 20000);
  EXPECT_EQ(use.tensors, 64 << 20);
  EXPECT_EQ(use.cache, 64 << 20);
}

}  // namespace
}  // namespace oomtrace
