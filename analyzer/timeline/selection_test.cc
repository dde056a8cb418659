#include "analyzer/timeline/selection.h"

#include <gtest/gtest.h>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {
namespace {

using oomtrace::testing::TraceBuilder;

constexpr uint64_t kBase = 0x7f2000000000;
constexpr int64_t kKiB = 1 << 10;
constexpr SelectionLimits kSmall = {.most = 1000,
                                    .at_start = 300,
                                    .at_end = 300,
                                    .around = 600,
                                    .behind = 600,
                                    .gpu_timeline = 300,
                                    .long_lived = 100,
                                    .longest = 8};

// A training of `steps` steps: 20 tensors that each step frees again, and one of 4 KiB that it keeps.
class Training : public TraceBuilder {
 public:
  explicit Training(int steps, int high = -1) {
    const uint32_t kept = Stack({{"/home/u/train.py", "main", 20}}), made = Stack({{"/home/u/model.py", "forward", 5}});
    for (int step = 0; step < steps; ++step) {
      std::vector<uint64_t> freed;
      for (int i = 0; i < (step == high ? 40 : 20); ++i) freed.push_back(Make(8 * kKiB, made));
      Phase(trace::Phase::BACKWARD_BEGIN);
      for (const uint64_t address : freed) Free(address);
      Phase(trace::Phase::BACKWARD_END);
      Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, 0x2000);
      Phase(trace::Phase::OPTIMIZER_STEP_END, 0x2000);
      Make(4 * kKiB, kept);
    }
  }

 private:
  uint64_t Make(int64_t bytes, uint32_t stack) {
    const uint64_t address = kBase + 16 * kKiB * next_++;
    Alloc(address, bytes, {stack, 0, 0});
    return address;
  }

  uint64_t next_ = 0;
};

Timeline Build(const TraceBuilder& builder, const SelectionLimits& limits) {
  const std::string file = builder.Finish();
  auto reader = TraceReader::FromBytes(file, "t.oomtrace");
  EXPECT_TRUE(reader.ok()) << reader.status();
  return BuildTimeline(reader->get(), limits);
}

TEST(SelectionTest, AnOrdinaryTraceKeepsEveryTensor) {
  const Timeline timeline = Build(Training(100), {});
  EXPECT_EQ(timeline.tensors.size(), 2100u);
  EXPECT_EQ(timeline.left_out, 0);
  EXPECT_TRUE(TensorsAreWhole(timeline, timeline.end / 2));
}

TEST(SelectionTest, ALongOneHasTheSameLevelsAndSteps) {
  const Training training(500, 250);
  const Timeline all = Build(training, {}), some = Build(training, kSmall);
  EXPECT_EQ(some.left_out + static_cast<int64_t>(some.tensors.size()), static_cast<int64_t>(all.tensors.size()));
  EXPECT_LT(some.tensors.size(), all.tensors.size() / 2);
  ASSERT_EQ(some.steps.size(), all.steps.size());
  for (size_t i = 0; i < all.steps.size(); ++i) {
    EXPECT_EQ(some.steps[i].peak, all.steps[i].peak);
    EXPECT_EQ(some.steps[i].live_at_end, all.steps[i].live_at_end);
  }
  ASSERT_EQ(some.samples.size(), all.samples.size());
  EXPECT_EQ(PeakTime(some, kNever), PeakTime(all, kNever));
}

TEST(SelectionTest, WhatLivedLongAndWhatLivedAtThePeakIsThere) {
  const Training training(500, 250);
  const Timeline all = Build(training, {}), some = Build(training, kSmall);
  const auto count = [](const Timeline& timeline, int64_t bytes) {
    return std::count_if(timeline.tensors.begin(), timeline.tensors.end(),
                         [&](const Tensor& tensor) { return tensor.bytes == bytes; });
  };
  EXPECT_EQ(count(some, 4 * kKiB), 500);
  // The highest of the whole run lies in the middle, amid what was left out.
  const int64_t peak = some.steps[250].begin;
  for (const int64_t time : {int64_t{0}, PeakTime(all, kNever), all.end}) {
    EXPECT_TRUE(TensorsAreWhole(some, time)) << time;
    EXPECT_EQ(TensorBytes(some, 0, time), TensorBytes(all, 0, time)) << time;
  }
  EXPECT_FALSE(TensorsAreWhole(some, some.steps[100].end));
  EXPECT_LT(PartlyKnownUntil(some, peak), peak);
  EXPECT_GT(PartlyKnownUntil(some, some.end), peak);
}

TEST(SelectionTest, ARefusalIsLookedAtWhereverItIs) {
  Training training(250);
  trace::OutOfMemory refusal;
  refusal.set_source(trace::OutOfMemory::TORCH_REPORT);
  refusal.set_bytes(1 << 30);
  training.OutOfMemory(refusal);
  const uint64_t late = kBase + (uint64_t{1} << 40);
  for (int i = 0; i < 5000; ++i) {
    training.Alloc(late, kKiB, {});
    training.Free(late);
  }
  const Timeline all = Build(training, {}), some = Build(training, kSmall);
  ASSERT_EQ(some.out_of_memory.size(), 1u);
  const int64_t time = some.out_of_memory.front().time;
  EXPECT_TRUE(TensorsAreWhole(some, time));
  EXPECT_EQ(LiveTensors(some, 0, time).size(), LiveTensors(all, 0, time).size());
  EXPECT_GT(some.left_out, 5000);
}

TEST(SelectionTest, ALostFreeIsALifeToTheNextTensorInItsPlace) {
  Training training(100);
  for (int i = 0; i < 2; ++i) training.Alloc(kBase, 4 * kKiB, {});
  const Timeline some = Build(training, kSmall);
  EXPECT_EQ(some.replaced_tensors, 1);
}

}  // namespace
}  // namespace oomtrace
