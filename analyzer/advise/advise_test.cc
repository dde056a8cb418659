#include "analyzer/advise/advise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyzer/advise/batch_flags.h"
#include "analyzer/advise/predict.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

const report::Fix* Find(const report::Report& report, const std::string& id) {
  for (const report::Fix& fix : report.fixes()) {
    if (fix.id() == id) return &fix;
  }
  return nullptr;
}

report::Report Advised(TrainingRun& run, const std::vector<std::string>& command = {}) {
  run.raw().process.arguments = command;
  Diagnosis d = Diagnose(run.timeline());
  Advise(d);
  return d.report;
}

// A batch of 64 that dies in its first forward. By layers of the made-up model a sample keeps 100 MiB.
TrainingRun TooLarge(int64_t micro_batches = 1) {
  TrainingRun::Sizes sizes;
  sizes.batch = 64;
  sizes.micro_batches = micro_batches;
  TrainingRun run(sizes);
  run.Forward(64, 0.75);
  run.Die("model.py", 103, {64, 1024, 768}, 64 * 25 * kMiB + 6 * kGiB);
  return run;
}

TEST(BatchFlags, ReadsTheStylesPeopleUse) {
  const BatchFlags nano = FindBatchFlags({"python", "train.py", "--batch_size=16", "--gradient_accumulation_steps=32"});
  ASSERT_TRUE(nano.batch && nano.accumulation);
  EXPECT_EQ(nano.batch->With(8), "--batch_size=8");
  EXPECT_EQ(nano.accumulation->With(64), "--gradient_accumulation_steps=64");
  const BatchFlags argparse = FindBatchFlags({"python", "train.py", "--batch-size", "16"});
  ASSERT_TRUE(argparse.batch);
  EXPECT_EQ(argparse.batch->With(8), "--batch-size 8");
  const BatchFlags hydra = FindBatchFlags({"python", "train.py", "data.batch_size=16"});
  ASSERT_TRUE(hydra.batch);
  EXPECT_EQ(hydra.batch->With(8), "data.batch_size=8");
  const BatchFlags chat = FindBatchFlags({"python", "-m", "scripts.base_train", "--device-batch-size=32"});
  ASSERT_TRUE(chat.batch);
  EXPECT_TRUE(chat.total_is_fixed);
  EXPECT_FALSE(FindBatchFlags({"python", "train.py", "--lr", "3", "--batch_size=auto"}).batch);
}

TEST(Advise, MicroBatchKeepsTheEffectiveBatchInTheUsersOwnFlags) {
  TrainingRun run = TooLarge();
  const report::Report report =
      Advised(run, {"python", "train.py", "--batch_size=64", "--gradient_accumulation_steps=8"});
  const report::Fix* fix = Find(report, "micro_batch");
  ASSERT_TRUE(fix);
  EXPECT_TRUE(fix->keeps_effective_batch());
  EXPECT_TRUE(fix->fits());
  int batch = 0, accumulation = 0;
  ASSERT_EQ(
      sscanf(fix->change().c_str(), "run with --batch_size=%d --gradient_accumulation_steps=%d", &batch, &accumulation),
      2)
      << fix->change();
  EXPECT_EQ(batch * accumulation, 64 * 8);
  // 400 MiB of weights with as much of gradients and twice of state, and 100 MiB a sample.
  EXPECT_LE(1600 * kMiB + batch * 100 * kMiB, fix->predicted_peak());
}

TEST(Advise, WithoutFlagsItNamesThePlace) {
  TrainingRun run = TooLarge();
  const report::Report report = Advised(run, {"python", "train.py"});
  const report::Fix* fix = Find(report, "micro_batch");
  ASSERT_TRUE(fix);
  EXPECT_THAT(fix->change(), HasSubstr("instead of 64"));
  EXPECT_THAT(fix->change(), HasSubstr("train.py:20"));
}

// State and gradients that the run had not reached are part of every prediction.
TEST(Predictor, AddsWhatTheRunHadNotReached) {
  TrainingRun run = TooLarge();
  const Diagnosis d = Diagnose(run.timeline());
  const Predictor predictor(d);
  EXPECT_FALSE(predictor.states().optimizer_seen);
  EXPECT_EQ(predictor.states().gradients, 400 * kMiB);
  EXPECT_EQ(predictor.states().optimizer, 800 * kMiB);
  EXPECT_GE(predictor.Training(1, true).reserved, 1700 * kMiB);
}

// A whole iteration on record is replayed: with half the batch the peak is the states and half the activations.
TEST(Predictor, ReplaysARecordedIterationWithHalfTheBatch) {
  TrainingRun::Sizes sizes;
  sizes.batch = 16;
  TrainingRun run(sizes);
  run.Iteration();
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 9 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  const Predictor predictor(d);
  ASSERT_TRUE(predictor.replayable());
  const Prediction half = predictor.Training(8, false);
  EXPECT_STREQ(half.basis, "replayed");
  EXPECT_TRUE(half.fits);
  // Accumulation keeps the gradients beside the second micro-batch's activations.
  const int64_t expected = 4 * 400 * kMiB + 8 * 100 * kMiB;
  EXPECT_GE(half.reserved, expected);
  EXPECT_LE(half.reserved, expected + 600 * kMiB);
}

TEST(BatchCarriers, AWeightWhoseRowsDivideByTheBatchDoesNotCarryIt) {
  TrainingRun run;
  run.Allocate("model.py", 1, {2304, 768}, kMiB, Category::kParameter);
  run.Forward(16);
  const BatchCarriers carriers(run.timeline(), InferBatch(run.timeline(), run.now()));
  EXPECT_TRUE(carriers.Carries(std::vector<int64_t>{16, 1024, 768}));
  EXPECT_TRUE(carriers.Carries(std::vector<int64_t>{16 * 1024, 3072}));
  EXPECT_FALSE(carriers.Carries(std::vector<int64_t>{2304, 768}));
  EXPECT_FALSE(carriers.Carries(std::vector<int64_t>{768, 2304}));
}

TEST(Advise, ALeakIsStoppedNotShrunk) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) run.Iteration([&] { run.Keep("train.py", 31, {64, 1000}, 300 * kMiB); });
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 4 * kGiB);
  const report::Report report = Advised(run);
  ASSERT_EQ(report.pattern(), "gradual_leak");
  EXPECT_TRUE(Find(report, "move_to_cpu"));
  EXPECT_FALSE(Find(report, "micro_batch"));
}

TEST(Advise, ExpandableSegmentsAreNamedForTheTorchInUse) {
  for (const auto& [version, variable] : {std::pair<std::string, std::string>{"2.11.0+cu130", "PYTORCH_ALLOC_CONF="},
                                          {"2.9.1", "PYTORCH_CUDA_ALLOC_CONF="}}) {
    TrainingRun run;
    run.Iteration();
    run.SetReserved(11 * kGiB);
    run.Forward(16, 0.5);
    run.raw().process.torch_version = version;
    run.Die("model.py", 120, {16, 1024, 768}, 2 * kGiB);
    const report::Report report = Advised(run);
    const report::Fix* fix = Find(report, "expandable_segments");
    ASSERT_TRUE(fix) << version;
    EXPECT_THAT(fix->change(), HasSubstr(" " + variable));
  }
}

TEST(Advise, WhatFitsComesBeforeWhatDoesNot) {
  TrainingRun run = TooLarge();
  const report::Report report = Advised(run);
  bool fits = true;
  for (const report::Fix& fix : report.fixes()) {
    EXPECT_TRUE(fits || !fix.fits()) << fix.id();
    fits = fix.fits();
  }
}

// Others' memory is only worth a line where its release alone makes the job fit.
TEST(Advise, OthersAreNotBlamedWhereFreeingThemDoesNotHelp) {
  TrainingRun::Sizes sizes;
  sizes.batch = 64;
  sizes.other_processes = 2 * kGiB;
  TrainingRun run(sizes);
  run.Forward(64, 0.5);
  run.Die("model.py", 102, {64, 1024, 768}, 20 * kGiB);
  EXPECT_FALSE(Find(Advised(run), "free_other_processes"));
}

}  // namespace
}  // namespace oomtrace
