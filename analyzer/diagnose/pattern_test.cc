#include "analyzer/diagnose/pattern.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "analyzer/diagnose/causes.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

std::string PatternOf(TrainingRun& run) { return Diagnose(run.timeline()).report.pattern(); }

bool HasCause(const report::Report& report, const std::string& id) {
  for (const report::Cause& cause : report.causes()) {
    if (cause.id() == id) return true;
  }
  return false;
}

TEST(Pattern, SetUpIsAtStart) {
  TrainingRun run;
  run.Die("train.py", 5, {1 << 20, 4096}, 16 * kGiB);
  EXPECT_EQ(PatternOf(run), "at_start");
}

TEST(Pattern, EvaluationBeforeTrainingIsAtStartNotEvalSpike) {
  TrainingRun run;
  run.Evaluation(64, /*free_at_end=*/false);
  run.Die("model.py", 200, {65536, 50304}, 9 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "at_start");
  EXPECT_EQ(d.report.out_of_memory().phase(), "evaluation");
}

TEST(Pattern, FirstForwardIsFirstBatch) {
  TrainingRun run;
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 12 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "first_batch");
  const auto& unknown = d.report.unknown();
  EXPECT_TRUE(std::any_of(unknown.begin(), unknown.end(), [](const std::string& sentence) {
    return sentence.starts_with("What a whole iteration needs");
  }));
}

// The state is born in the first step, so the second iteration is the first whole one: it still counts, even where
// fragmentation is what kills it.
TEST(Pattern, SecondIterationIsFirstBatchWithFragmentationAsCause) {
  TrainingRun run;
  run.Iteration();
  run.SetReserved(11 * kGiB);
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 2 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "first_batch");
  EXPECT_TRUE(HasCause(d.report, "fragmentation"));
}

// With accumulation the first step has several backward passes.
TEST(Pattern, WithoutAnyOptimizerStepNoStateIsSaidToLive) {
  TrainingRun run;
  run.Iteration();
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 12 * kGiB);
  Timeline timeline = run.timeline();
  for (Step& step : timeline.steps) step.optimizer = 0;
  const Diagnosis d = Diagnose(timeline);
  ASSERT_EQ(d.report.pattern(), "first_batch");
  EXPECT_EQ(d.report.evidence(0), "It died after 1 backward pass, before any optimizer had stepped.");
}

TEST(Pattern, ThirdIterationWithEnoughUnallocatedIsFragmentation) {
  TrainingRun run;
  run.Iteration();
  run.Iteration();
  run.SetReserved(11 * kGiB);
  run.Forward(16, 0.5);
  run.Die("model.py", 102, {16, 1024, 768}, 400 * kMiB);
  EXPECT_EQ(PatternOf(run), "fragmentation");
}

// Layers were unfrozen: more than twice the need of before, with little in the cache.
TEST(Pattern, ANeedFarAboveAnyBeforeIsNoFragmentation) {
  TrainingRun run;
  run.Iteration();
  run.Iteration();
  run.Forward(16);
  for (int kept = 0; kept < 8; ++kept) run.Keep("model.py", 101, {16, 1024, 768}, 400 * kMiB, /*grad_mode=*/true);
  run.SetReserved(run.live() + 500 * kMiB);
  run.Die("model.py", 102, {16, 1024, 768}, 400 * kMiB);
  EXPECT_EQ(PatternOf(run), "late_allocation");
}

TEST(Pattern, LeakThatDiesInEvaluationIsALeak) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) {
    run.Iteration([&] { run.Keep("train.py", 31, {64, 1000}, 300 * kMiB); });
    if (step % 5 == 4) run.Evaluation(16);
  }
  run.Evaluation(16, /*free_at_end=*/false);
  run.Die("model.py", 201, {16, 1024, 768}, 4 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "gradual_leak");
  EXPECT_EQ(d.report.leak().bytes_per_step(), 300 * kMiB);
  EXPECT_EQ(d.report.culprit().line(), 31);
}

TEST(Pattern, EvaluationThatNeedsMoreIsEvalSpikeDespiteASmallLeak) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) run.Iteration([&] { run.Keep("train.py", 31, {64}, kMiB); });
  run.Evaluation(128, /*free_at_end=*/false);
  run.Die("model.py", 201, {128, 1024, 768}, 6 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "eval_spike");
  EXPECT_TRUE(HasCause(d.report, "evaluation_batch_larger"));
}

TEST(Pattern, ALargerBatchAfterSteadyTrainingIsAnOutlier) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.Forward(80, 0.75);
  run.Die("model.py", 103, {80, 1024, 768}, 8 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "batch_outlier");
}

TEST(Pattern, ANewLineAfterSteadyTrainingIsLateAllocation) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.Keep("train.py", 80, {1024, 1024}, 3 * kGiB);
  run.Die("train.py", 81, {1024, 1024}, 9 * kGiB);
  EXPECT_EQ(PatternOf(run), "late_allocation");
}

TEST(Pattern, ACardHeldByOthersIsOtherProcess) {
  TrainingRun::Sizes sizes;
  sizes.other_processes = 11 * kGiB;
  TrainingRun run(sizes);
  run.Forward(16, 0.25);
  run.Die("model.py", 101, {16, 1024, 768}, 400 * kMiB);
  EXPECT_EQ(PatternOf(run), "other_process");
}

TEST(Pattern, ALittleHeldByOthersIsNotTheVerdict) {
  TrainingRun::Sizes sizes;
  sizes.other_processes = 2 * kGiB;
  TrainingRun run(sizes);
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 9 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "first_batch");
  EXPECT_TRUE(HasCause(d.report, "other_process_memory"));
}

// A full disk: what is not in the trace may have been anything.
TEST(Pattern, ATraceThatLostMostOfTheRunIsNotCalledHealthy) {
  TrainingRun run;
  run.Iteration();
  run.raw().events = 10;
  run.raw().dropped = 5000;
  const Diagnosis lost = Diagnose(run.timeline());
  EXPECT_EQ(lost.report.confidence(), 0);
  EXPECT_EQ(lost.report.summary().find("Healthy"), std::string::npos) << lost.report.summary();
  EXPECT_NE(lost.report.evidence(0).find("OOMTRACE_DIR"), std::string::npos);
  const Diagnosis empty = Diagnose(Timeline());
  EXPECT_EQ(empty.report.summary().find("Healthy"), std::string::npos) << empty.report.summary();
}

TEST(Pattern, ATraceThatLostItsEndIsNotCalledHealthy) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.raw().events = 5000;
  run.raw().dropped = 10;
  const Diagnosis lost = Diagnose(run.timeline());
  EXPECT_LE(lost.report.confidence(), 0.3);
  EXPECT_EQ(lost.report.summary().find("Healthy"), std::string::npos) << lost.report.summary();
  EXPECT_NE(lost.report.evidence(0).find("cannot be known"), std::string::npos) << lost.report.evidence(0);
  run.raw().exited = true;
  EXPECT_NE(Diagnose(run.timeline()).report.summary().find("Healthy"), std::string::npos);
}

// What had been overwritten when memory ran out may have been what filled it.
TEST(Pattern, AVerdictOnATraceWithLossesIsNotFirm) {
  TrainingRun run;
  for (int step = 0; step < 3; ++step) run.Iteration();
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 9 * kGiB);
  EXPECT_GT(Diagnose(run.timeline()).report.confidence(), 0);
  run.raw().recycled_chunks = 2;
  const Diagnosis lost = Diagnose(run.timeline());
  EXPECT_LE(lost.report.confidence(), 0.6);
  bool said = false;
  for (const std::string& unknown : lost.report.unknown()) said |= unknown.find("2 chunks") != std::string::npos;
  EXPECT_TRUE(said);
}

TEST(Pattern, SurvivedRunsAreHealthyAndWarnOfALeak) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  EXPECT_EQ(PatternOf(run), "healthy");
  EXPECT_EQ(Diagnose(run.timeline()).report.leak().steps_to_oom(), -1);
  TrainingRun leaky;
  for (int step = 0; step < 10; ++step) leaky.Iteration([&] { leaky.Keep("train.py", 31, {64}, 100 * kMiB); });
  const Diagnosis d = Diagnose(leaky.timeline());
  EXPECT_EQ(d.report.pattern(), "healthy");
  EXPECT_EQ(d.report.leak().bytes_per_step(), 100 * kMiB);
  EXPECT_GT(d.report.leak().steps_to_oom(), 10);
}

}  // namespace
}  // namespace oomtrace
