#include "analyzer/diagnose/outside.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;

// An extension that takes memory of the device itself, once in each step.
void TakeOutside(TrainingRun& run, int64_t bytes) {
  DeviceAllocation allocation;
  allocation.bytes = bytes;
  allocation.born = run.now();
  allocation.library = "/home/me/ext.so";
  allocation.caller = 0x10;
  allocation.api = "cudaMalloc";
  run.raw().device_allocations.push_back(allocation);
}

TEST(Outside, WhatAnExtensionLeaksIsTheVerdict) {
  TrainingRun run;
  for (int step = 0; step < 40; ++step) run.Iteration([&] { TakeOutside(run, 64 * kMiB); });
  run.Die("train.py", 12, {1024, 1024}, 8 * kMiB);
  run.raw().out_of_memory.back().device_free = kMiB;
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "gradual_leak");
  EXPECT_THAT(d.report.evidence(0), HasSubstr("ext.so"));
  EXPECT_THAT(d.report.evidence(0), HasSubstr("2.50 GiB in 40 allocations outside PyTorch"));
  EXPECT_EQ(d.report.causes(0).id(), "accumulating_allocations");
  EXPECT_EQ(d.report.culprit().file(), "/home/me/ext.so");
}

TEST(Outside, WhatWasTakenInTheFirstStepsDoesNotGrow) {
  TrainingRun run;
  for (int step = 0; step < 40; ++step) {
    run.Iteration([&] {
      if (step < 10) TakeOutside(run, 64 * kMiB);
    });
  }
  EXPECT_FALSE(Diagnose(run.timeline()).outside.growth.found);
}

TEST(Outside, AHealthyRunIsWarned) {
  TrainingRun run;
  for (int step = 0; step < 40; ++step) run.Iteration([&] { TakeOutside(run, 64 * kMiB); });
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "healthy");
  EXPECT_THAT(d.report.evidence(2), HasSubstr("Warning: "));
  EXPECT_THAT(d.report.evidence(2), HasSubstr("outside PyTorch, and took more until the end"));
}

}  // namespace
}  // namespace oomtrace
