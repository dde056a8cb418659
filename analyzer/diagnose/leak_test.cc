#include "analyzer/diagnose/leak.h"

#include <gtest/gtest.h>

#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(Leak, OutputsKeptInAListGiveBytesPerStep) {
  TrainingRun run;
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] { run.Keep("train.py", 31, {64, 1000}, 8 * kMiB); });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_DOUBLE_EQ(leak.bytes_per_boundary, 8.0 * kMiB);
  EXPECT_DOUBLE_EQ(leak.tensors_per_boundary, 1.0);
  EXPECT_EQ(leak.since, 0);
  EXPECT_FALSE(leak.with_graph);
}

TEST(Leak, ALateStartIsSeen) {
  TrainingRun run;
  for (int step = 0; step < 40; ++step) {
    run.Iteration([&] {
      if (step >= 30) run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
    });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_EQ(leak.since, 30);
  EXPECT_DOUBLE_EQ(leak.bytes_per_boundary, 8.0 * kMiB);
}

TEST(Leak, EveryTenthStepIsAveraged) {
  TrainingRun run;
  for (int step = 0; step < 50; ++step) {
    run.Iteration([&] {
      if (step % 10 == 9) run.Keep("train.py", 31, {64, 1000}, 10 * kMiB);
    });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_DOUBLE_EQ(leak.bytes_per_boundary, 1.0 * kMiB);
}

TEST(Leak, GraphsOfOlderStepsAreToldFromOutputs) {
  TrainingRun run;
  for (int step = 0; step < 6; ++step) {
    run.Iteration([&] {
      for (int layer = 0; layer < 5; ++layer) run.Keep("model.py", 10 + layer, {64, 512}, kMiB, /*grad_mode=*/true);
    });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_TRUE(leak.with_graph);
  EXPECT_DOUBLE_EQ(leak.bytes_per_boundary, 5.0 * kMiB);
}

TEST(Leak, AWarmUpIsNone) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) {
    run.Iteration([&] {
      if (step < 5) run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
    });
  }
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

TEST(Leak, AQueueWithALimitIsNone) {
  TrainingRun run;
  std::vector<uint32_t> queue;
  for (int step = 0; step < 30; ++step) {
    run.Iteration([&] {
      queue.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB));
      if (queue.size() > 8) {
        run.Free(queue.front());
        queue.erase(queue.begin());
      }
    });
  }
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

TEST(Leak, ABufferEmptiedNowAndThenIsNone) {
  TrainingRun run;
  std::vector<uint32_t> buffer;
  for (int step = 0; step < 38; ++step) {
    run.Iteration([&] {
      buffer.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB));
      if (buffer.size() == 10) {
        for (const uint32_t tensor : buffer) run.Free(tensor);
        buffer.clear();
      }
    });
  }
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

// Outputs of an epoch, kept until it ends, where the last epoch is longer than those before.
TEST(Leak, ABufferEmptiedBeforeIsNoneInARunThatLives) {
  TrainingRun run;
  std::vector<uint32_t> buffer;
  size_t epoch = 10;
  for (int step = 0; step < 44; ++step) {
    run.Iteration([&] {
      buffer.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB));
      if (buffer.size() < epoch) return;
      for (const uint32_t tensor : buffer) run.Free(tensor);
      buffer.clear();
      epoch += 5;
    });
  }
  ASSERT_EQ(buffer.size(), 19U);
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/false).found);
  EXPECT_TRUE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

TEST(Leak, BatchesOfAllLengthsLeakUnequalAmounts) {
  TrainingRun run;
  for (int step = 0; step < 30; ++step) {
    const int64_t length = 1 + (step * 7919) % 97;
    run.Iteration([&] { run.Keep("train.py", 31, {length, length}, length * length << 10); });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/false);
  ASSERT_TRUE(leak.found);
  EXPECT_EQ(leak.since, 0);
}

// Keys are met by chance: ever fewer are new.
TEST(Leak, ACacheThatFillsEverMoreSlowlyIsNone) {
  TrainingRun run;
  std::vector<bool> met(24, false);
  uint32_t random = 1;
  for (int step = 0; step < 48; ++step) {
    random = random * 1664525 + 1013904223;
    const size_t key = (random >> 16) % met.size();
    run.Iteration([&] {
      if (!met[key]) run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
      met[key] = true;
    });
    EXPECT_FALSE(step > 36 && FindLeak(run.timeline(), run.now(), /*died=*/false).found) << "step " << step;
  }
}

TEST(Leak, WhatOneVariableHoldsUntilTheNextStepIsNone) {
  TrainingRun run;
  uint32_t held = 0;
  for (int step = 0; step < 10; ++step) {
    run.Iteration([&] {
      const uint32_t next = run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
      if (step > 0) run.Free(held);
      held = next;
    });
  }
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

TEST(Leak, TwoStepsAreNoTrend) {
  TrainingRun run;
  for (int step = 0; step < 2; ++step) run.Iteration([&] { run.Keep("train.py", 31, {64, 1000}, 8 * kMiB); });
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

// bank = torch.cat([bank, new]): as many tensors as before, one of them larger each step.
TEST(Leak, ATensorReplacedByALargerOneEachStepGrows) {
  TrainingRun run;
  uint32_t bank = run.Keep("train.py", 12, {1, 1000}, 4 << 20);
  for (int step = 2; step < 40; ++step) {
    run.Iteration([&] {
      const uint32_t longer = run.Keep("train.py", 12, {step, 1000}, step * (int64_t{4} << 20));
      run.Free(bank);
      bank = longer;
    });
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_TRUE(leak.replaced());
  EXPECT_NEAR(leak.bytes_per_boundary, 4 << 20, 1 << 12);
}

// Made between the steps and replaced in the next gap, as data on the device would be.
TEST(Leak, ABankIsNoBatchThatGrows) {
  TrainingRun run;
  uint32_t bank = run.Allocate("train.py", 12, {1, 1000}, 4 << 20, Category::kUnknown);
  for (int step = 2; step < 40; ++step) {
    run.Iteration();
    const uint32_t longer = run.Allocate("train.py", 12, {step, 1000}, step * (int64_t{4} << 20), Category::kUnknown);
    run.Free(bank);
    bank = longer;
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_TRUE(leak.replaced());
}

TEST(Leak, WhatTheModelLeavesBehindOfEverLargerBatchesIsNone) {
  TrainingRun run;
  uint32_t output = 0;
  for (int step = 2; step < 40; ++step) {
    run.Iteration([&] {
      const uint32_t larger = run.Keep("model.py", 12, {step, 1000}, step * (int64_t{4} << 20));
      if (output != 0) run.Free(output);
      output = larger;
      run.raw().tensors[larger].phase = PhaseKind::kForward;
      run.raw().stacks[run.raw().tensors[larger].stack].module = 7;
    });
  }
  EXPECT_FALSE(FindLeak(run.timeline(), run.now(), /*died=*/true).found);
}

// A network may be grown a few times; what goes on is a leak all the same.
TEST(Leak, ParametersAddedAFewTimesAsPlannedAreNone) {
  for (const int additions : {4, 12}) {
    TrainingRun run;
    for (int step = 0; step < 10 * (additions + 1); ++step) {
      run.Iteration([&] {
        if (step % 10 == 0 && step > 0) run.Allocate("train.py", 31, {64, 1000}, 8 * kMiB, Category::kParameter);
      });
    }
    EXPECT_EQ(FindLeak(run.timeline(), run.now(), /*died=*/false).found, additions == 12) << additions;
  }
}

// The allocator hands out what it has: a block may be larger than the tensor, and the next one smaller again.
TEST(Leak, ATensorReplacedByALargerOneGrowsThoughItsBlocksDoNotAlways) {
  TrainingRun run;
  uint32_t bank = run.Keep("train.py", 12, {1, 1000}, 4 << 20);
  for (int step = 2; step < 40; ++step) {
    run.Iteration([&] {
      const uint32_t longer = run.Keep("train.py", 12, {step, 1000}, step * (int64_t{4} << 20));
      run.Free(bank);
      bank = longer;
    });
  }
  bool odd = false;
  for (Tensor& tensor : run.raw().tensors) {
    if (tensor.layout != 0 && run.raw().layouts[tensor.layout].shape.back() == 1000) {
      if (odd && tensor.bytes > 8 << 20) tensor.bytes += 6 << 20;
      odd = !odd;
    }
  }
  const Leak leak = FindLeak(run.timeline(), run.now(), /*died=*/true);
  ASSERT_TRUE(leak.found);
  EXPECT_TRUE(leak.replaced());
  EXPECT_NEAR(leak.bytes_per_boundary, 4 << 20, 1 << 12);
}

}  // namespace
}  // namespace oomtrace
