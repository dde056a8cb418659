#include <gtest/gtest.h>

#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

constexpr int64_t kGiB = 1 << 30;

int64_t Sum(const report::DeviceTable& d) {
  return d.tensors() + d.cache() + d.other() + d.context() + d.other_processes() + d.free();
}

int64_t Sum(const report::Categories& c) {
  return c.parameter() + c.gradient() + c.optimizer_state() + c.activation() + c.input() + c.temporary() +
         c.workspace() + c.unknown();
}

TEST(DeviceTable, AddsUpToTheByteAtADeath) {
  TrainingRun::Sizes sizes;
  sizes.other_processes = 2 * kGiB + 12345;
  TrainingRun run(sizes);
  run.Iteration();
  run.Forward(16, 0.5);
  DeviceAllocation nccl;
  nccl.bytes = 123456789;
  nccl.born = 3;
  nccl.library = "libnccl.so.2";
  run.raw().device_allocations.push_back(nccl);
  run.Die("model.py", 120, {16, 1024, 768}, 9 * kGiB);
  run.raw().out_of_memory.back().device_free -= nccl.bytes;
  const report::Report report = Diagnose(run.timeline()).report;
  EXPECT_EQ(Sum(report.device()), report.device().total());
  EXPECT_EQ(report.device().total(), sizes.total);
  EXPECT_EQ(report.device().other(), 123456789);
  EXPECT_EQ(report.device().other_processes(), sizes.other_processes);
  EXPECT_EQ(report.device().context(), sizes.context);
  EXPECT_EQ(Sum(report.categories()), report.device().tensors());
}

// NVML's list was read later than the refusal and names more than is left: the row gives way, not the sum.
TEST(DeviceTable, AStaleListOfProcessesCannotBreakTheSum) {
  TrainingRun run;
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 12 * kGiB);
  run.SetOther(11 * kGiB);
  const report::Report report = Diagnose(run.timeline()).report;
  EXPECT_EQ(Sum(report.device()), report.device().total());
  EXPECT_GE(report.device().context(), 0);
}

TEST(DeviceTable, AddsUpAtThePeakOfAHealthyRun) {
  TrainingRun::Sizes sizes;
  sizes.other_processes = kGiB;
  TrainingRun run(sizes);
  for (int i = 0; i < 3; ++i) run.Iteration();
  const report::Report report = Diagnose(run.timeline()).report;
  EXPECT_EQ(Sum(report.device()), report.device().total());
  EXPECT_EQ(report.device().other_processes(), kGiB);
  EXPECT_EQ(report.device().context(), sizes.context);
  EXPECT_EQ(Sum(report.categories()), report.device().tensors());
  EXPECT_EQ(report.device().tensors(), report.peak().bytes());
}

// A block whose allocation the trace lost is counted by the allocator and must show as unknown.
TEST(DeviceTable, WhatTheTraceLostIsUnknown) {
  TrainingRun run;
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 12 * kGiB);
  run.raw().out_of_memory.back().allocated += 1000;
  run.raw().out_of_memory.back().reserved += 1000;
  const report::Report report = Diagnose(run.timeline()).report;
  EXPECT_EQ(report.categories().unknown(), 1000);
  EXPECT_EQ(Sum(report.categories()), report.device().tensors());
  EXPECT_LT(report.device().explained_share(), 1.0);
}

}  // namespace
}  // namespace oomtrace
