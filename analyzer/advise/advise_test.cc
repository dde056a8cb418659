#include "analyzer/advise/advise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyzer/advise/batch_flags.h"
#include "analyzer/advise/predict.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

using ::testing::HasSubstr;

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

// `oomtrace verify` must not miss a place for what such a script computes.
TEST(Advise, AScriptWithATotalBatchSetsItsAccumulationItself) {
  const auto settings = [](const std::vector<std::string>& command) {
    TrainingRun run = TooLarge();
    std::vector<std::string> names;
    const report::Report report = Advised(run, command);
    for (const report::FixSetting& setting : Find(report, "micro_batch")->settings()) names.push_back(setting.name());
    return names;
  };
  EXPECT_EQ(settings({"python", "-m", "scripts.base_train", "--device-batch-size=64"}),
            (std::vector<std::string>{"--device-batch-size", "batch_size"}));
  EXPECT_EQ(settings({"python", "train.py", "--batch_size=64"}),
            (std::vector<std::string>{"--batch_size", "batch_size", "accumulation"}));
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
  sizes.total = 3 * kGiB;  // the first iteration fits, the one with the optimizer's state does not
  TrainingRun run(sizes);
  run.Iteration();
  run.Forward(16, 0.75);
  run.Die("model.py", 103, {16, 1024, 768}, 400 * kMiB);
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

// The critic's step ends, and the generator's optimizer, which has not stepped yet, speaks at the death only.
TEST(Predictor, TheFirstStepOfOneOfTwoOptimizersIsNoWholeIteration) {
  for (const bool second_stepped : {false, true}) {
    TrainingRun::Sizes sizes;
    sizes.batch = 16;
    sizes.total = 3 * kGiB;
    TrainingRun run(sizes);
    run.raw().optimizers.push_back({2, "Adam", "", sizes.parameters, sizes.parameters / 4});
    const int64_t before = run.now();
    run.Iteration();
    run.Forward(16, 0.75);
    run.Die("model.py", 103, {16, 1024, 768}, 400 * kMiB);
    Role role;
    role.time = second_stepped ? before : run.now() + 1;
    role.owner = 2;
    role.category = Category::kParameter;
    run.raw().roles.push_back(role);
    const Diagnosis d = Diagnose(run.timeline());
    EXPECT_EQ(Predictor(d).replayable(), second_stepped);
  }
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

// The older spelling is read by every torch from 2.0 on.
TEST(Advise, ExpandableSegmentsAreNamedSoThatEveryTorchReadsIt) {
  for (const char* version : {"2.11.0+cu130", "2.0.1"}) {
    TrainingRun run;
    run.Iteration();
    run.SetReserved(11 * kGiB);
    run.Forward(16, 0.5);
    run.raw().process.torch_version = version;
    run.Die("model.py", 120, {16, 1024, 768}, 2 * kGiB);
    const report::Report report = Advised(run);
    const report::Fix* fix = Find(report, "expandable_segments");
    ASSERT_TRUE(fix) << version;
    EXPECT_THAT(fix->change(), HasSubstr(" PYTORCH_CUDA_ALLOC_CONF="));
  }
}

// The iterations before were small: they say nothing of the one that died.
// 1 GiB lies idle in a private pool: the model keeps it there by itself, and the room is not to be cut by it once more.
TEST(Predictor, WaysToLeaveATensorOutAgreeAboutPrivatePools) {
  TrainingRun run;
  run.raw().free_lists = {{.stream = 0, .pool = 0}, {.stream = 0, .pool = 1}};
  const uint32_t idle = run.Allocate("graph.py", 1, {1024, 1024}, kGiB, Category::kUnknown);
  run.raw().tensors[idle].free_list = 1;
  run.Free(idle);
  const uint32_t spare = run.Keep("train.py", 9, {1024, 2048}, 2 * kGiB);
  run.Iteration();
  run.Forward(16);
  run.Die("model.py", 103, {16, 4096, 4096}, 7 * kGiB);
  Diagnosis d = Diagnose(run.timeline());
  d.facts.private_idle = kGiB;
  const Predictor predictor(d);
  const Tensor& left_out = run.timeline().tensors[spare];
  const Prediction by_name =
      predictor.Without([&](const Tensor& tensor) { return &tensor == &left_out; }, /*refused_too=*/false);
  const Prediction by_life = predictor.WithLives({{spare, 0, 0}});
  EXPECT_STREQ(by_name.basis, "replayed");
  EXPECT_TRUE(by_name.fits);
  EXPECT_EQ(by_life.reserved, by_name.reserved);
  EXPECT_EQ(by_life.headroom, by_name.headroom);
  EXPECT_EQ(by_life.fits, by_name.fits);
}

TEST(Predictor, AnOutlierIsNotPredictedFromTheBatchesBeforeIt) {
  TrainingRun run;
  for (int i = 0; i < 5; ++i) run.Iteration(nullptr, 4);
  run.Forward(128, 0.75);
  run.Die("model.py", 103, {128, 1024, 768}, 3200 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_EQ(d.pattern.name, "batch_outlier");
  const Predictor predictor(d);
  EXPECT_FALSE(predictor.replayable());
  EXPECT_GE(predictor.Training(64, true).reserved, 1200 * kMiB + 64 * 100 * kMiB);
  const report::Report report = Advised(run);
  EXPECT_FALSE(Find(report, "expandable_segments"));
}

// A death by gaps in the cache: the model may not show the gaps, but it knows what the tensors need without any.
TEST(Predictor, ExpandableSegmentsAreReplayedWhereTheTensorsAreKnown) {
  TrainingRun run;
  run.Iteration();
  run.SetReserved(11 * kGiB);
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 1 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  const Predictor predictor(d);
  EXPECT_FALSE(predictor.replayable());
  EXPECT_STREQ(predictor.Training(16, true).basis, "replayed");
  EXPECT_STREQ(predictor.Training(8, false).basis, "estimated");
}

// What came late is in no earlier iteration: without it the model of the allocator would say that all is well.
TEST(Advise, ALateOneOffIsMoved) {
  TrainingRun::Sizes sizes;
  sizes.total = 5 * kGiB;
  TrainingRun run(sizes);
  for (int step = 0; step < 10; ++step) run.Iteration();
  for (int i = 0; i < 4; ++i) run.Allocate("train.py", 60, {175 * 1024, 1024}, 700 * kMiB, Category::kParameter);
  run.Forward(16, 0.5);
  run.Die("model.py", 102, {16, 1024, 768}, 400 * kMiB);
  const report::Report report = Advised(run);
  ASSERT_EQ(report.pattern(), "late_allocation");
  ASSERT_GT(report.fixes_size(), 0);
  EXPECT_EQ(report.fixes(0).id(), "off_device");
  EXPECT_THAT(report.fixes(0).change(), HasSubstr("train.py:60"));
  EXPECT_TRUE(report.fixes(0).fits());
  EXPECT_EQ(report.fixes(0).basis(), "replayed");
  // Nothing is said by repeating a training that went well.
  for (int i = 1; i < report.fixes_size(); ++i) EXPECT_NE(report.fixes(i).basis(), "replayed") << report.fixes(i).id();
}

// Of two new lines only the one whose bytes are missing helps.
TEST(Advise, ALateOneOffThatDidNotFitIsTheOneToMove) {
  TrainingRun::Sizes sizes;
  sizes.total = 5 * kGiB;
  TrainingRun run(sizes);
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.EnterPhase(PhaseKind::kBetweenSteps);
  run.Allocate("train.py", 60, {16 * 1024, 1024}, 64 * kMiB, Category::kUnknown);
  run.Die("train.py", 61, {900 * 1024, 1024}, 3600 * kMiB);
  const report::Report report = Advised(run);
  ASSERT_EQ(report.pattern(), "late_allocation");
  ASSERT_GT(report.fixes_size(), 0);
  EXPECT_THAT(report.fixes(0).change(), HasSubstr("train.py:61"));
  EXPECT_TRUE(report.fixes(0).fits());
  EXPECT_LE(report.fixes(0).saving(), 3600 * kMiB);
  EXPECT_EQ(report.no_fix(), "");
}

TEST(Advise, WhatNoCardCanHoldHasNoFixButAReason) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.EnterPhase(PhaseKind::kBetweenSteps);
  run.Allocate("train.py", 60, {16 * 1024, 1024}, 64 * kMiB, Category::kUnknown);
  run.Die("train.py", 61, {int64_t{1} << 38}, 1024 * kGiB);
  const report::Report report = Advised(run);
  EXPECT_EQ(report.fixes_size(), 0);
  EXPECT_THAT(report.no_fix(), HasSubstr("1.00 TiB, is by itself more than"));
  EXPECT_EQ(report.culprit().line(), 61);
}

// set_per_process_memory_fraction: what is free on the device is not this process's to have.
TEST(Advise, FixesFitWithinTheMemoryLimit) {
  constexpr int64_t kLimit = 4608 * kMiB;
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.Forward(64, 0.5);
  run.Die("model.py", 102, {64, 1024, 768}, 1600 * kMiB);
  run.raw().out_of_memory[0].limit = kLimit;
  const report::Report report = Advised(run);
  bool limit = false;
  for (const report::Cause& cause : report.causes()) limit |= cause.id() == "memory_limit" && cause.confidence() > 0.9;
  EXPECT_TRUE(limit);
  ASSERT_TRUE(Find(report, "raise_memory_limit"));
  for (const report::Fix& fix : report.fixes()) {
    if (!fix.fits() || fix.id() == "raise_memory_limit") continue;
    EXPECT_LE(fix.predicted_peak(), kLimit) << fix.id();
    EXPECT_LE(fix.predicted_peak() + fix.headroom(), kLimit) << fix.id();
  }
  // A trace that does not name it shows as much as was reserved.
  run.raw().out_of_memory[0].limit = 0;
  const report::Report unnamed = Advised(run);
  for (const report::Fix& fix : unnamed.fixes()) {
    if (!fix.fits() || fix.id() == "raise_memory_limit") continue;
    EXPECT_LE(fix.predicted_peak(), run.raw().out_of_memory[0].reserved) << fix.id();
  }
}

// A batch made on the device: no module has read it when the first layer fails.
TEST(Batch, OfADeathInTheFirstLayerIsTheOneInWork) {
  TrainingRun run;
  for (int step = 0; step < 10; ++step) run.Iteration();
  run.Allocate("train.py", 20, {640, 1024}, 640 * 4096, Category::kUnknown);
  run.EnterPhase(PhaseKind::kForward);
  run.Die("model.py", 100, {640, 1024, 768}, 12 * kGiB);
  const Batch batch = InferBatch(run.timeline(), run.now());
  EXPECT_EQ(batch.size, 640);
  EXPECT_EQ(batch.input, (std::vector<int64_t>{640, 1024}));
}

TEST(Advise, OutputsKeptByAnEvaluationGoToTheHost) {
  TrainingRun run;
  for (int i = 0; i < 3; ++i) run.Iteration();
  run.EnterPhase(PhaseKind::kEvaluation);
  for (int batch = 0; batch < 40; ++batch) {
    const uint32_t input = run.Allocate("train.py", 40, {16, 1024}, 128 << 10, Category::kInput);
    run.Free(run.Allocate("model.py", 200, {16, 1024, 768}, 48 * kMiB, Category::kTemporary));
    run.Allocate("model.py", 210, {16, 1000}, 250 * kMiB, Category::kTemporary);
    run.Free(input);
  }
  run.Die("model.py", 200, {16, 1024, 768}, 48 * kMiB);
  const report::Report report = Advised(run);
  ASSERT_GT(report.fixes_size(), 0);
  EXPECT_EQ(report.fixes(0).id(), "move_to_cpu");
  EXPECT_TRUE(report.fixes(0).fits());
  EXPECT_FALSE(Find(report, "evaluation_batch"));
}

TEST(Advise, StatesThatExceedTheCardAreNotAnsweredWithABatch) {
  TrainingRun::Sizes sizes;
  sizes.parameters = 4 * kGiB;
  sizes.batch = 8;
  TrainingRun run(sizes);
  run.Forward(8, 0.5);
  run.Die("model.py", 101, {8, 1024, 768}, 10 * kGiB);
  const report::Report report = Advised(run);
  EXPECT_FALSE(Find(report, "micro_batch"));
  for (const char* id : {"bf16_states", "smaller_optimizer_state", "offload_optimizer", "shard_states"}) {
    EXPECT_TRUE(Find(report, id)) << id;
  }
}

// Without gradients every layer gives its memory back; training keeps what all of them made.
TEST(Predictor, FromAnEvaluationAloneEverythingMadeCounts) {
  constexpr int64_t kAsked = 11 * kGiB + 512 * kMiB;
  TrainingRun run;
  run.EnterPhase(PhaseKind::kEvaluation);
  run.Allocate("train.py", 40, {64, 1024}, 512 << 10, Category::kInput);
  for (int layer = 0; layer < 20; ++layer) {
    run.Free(run.Allocate("model.py", 200 + layer, {64, 1024, 768}, 200 * kMiB, Category::kTemporary));
  }
  run.Die("model.py", 230, {64, 1024, 768}, kAsked);
  const Diagnosis d = Diagnose(run.timeline());
  const Predictor predictor(d);
  EXPECT_GE(predictor.Training(64, true).reserved, 1600 * kMiB + 20 * 200 * kMiB + kAsked);
  const report::Report report = Advised(run, {"python", "train.py", "--batch_size=64"});
  const report::Fix* fix = Find(report, "micro_batch");
  ASSERT_TRUE(fix);
  EXPECT_THAT(fix->price(), HasSubstr("never seen"));
}

// loss(model(x.to(device)), y.to(device)): what arrives last does not begin the forward.
TEST(Predictor, TargetsThatArriveAfterTheForwardDoNotHideIt) {
  TrainingRun run;
  run.Allocate("train.py", 40, {64, 1024}, 512 << 10, Category::kInput);
  run.EnterPhase(PhaseKind::kEvaluation);
  for (int layer = 0; layer < 20; ++layer) {
    run.Free(run.Allocate("model.py", 200 + layer, {64, 1024, 768}, 200 * kMiB, Category::kTemporary));
  }
  run.Allocate("train.py", 40, {64, 1024}, 512 << 10, Category::kInput);
  run.Die("train.py", 41, {64, 1024, 768}, 11 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_GE(Predictor(d).Training(64, true).reserved, 1600 * kMiB + 20 * 200 * kMiB + 11 * kGiB);
}

TEST(BatchCarriers, AttentionHasTheBatchBehindTheLength) {
  TrainingRun run;
  run.Forward(16);
  const BatchCarriers carriers(run.timeline(), InferBatch(run.timeline(), run.now()));
  EXPECT_TRUE(carriers.Carries(std::vector<int64_t>{3, 1024, 16, 768}));
  EXPECT_FALSE(carriers.Carries(std::vector<int64_t>{3, 16, 512, 768}));
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

// What asks between steps has nothing to do with the batch, and what it would have asked next is not on record.
TEST(Advise, ADeathBetweenStepsIsNotAnsweredWithABatchOrASetting) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) run.Iteration();
  run.EnterPhase(PhaseKind::kBetweenSteps);
  run.SetReserved(11 * kGiB);
  run.Die("train.py", 70, {16, 1024, 768}, 9 * kGiB);
  const report::Report report = Advised(run);
  EXPECT_FALSE(Find(report, "micro_batch"));
  EXPECT_FALSE(Find(report, "expandable_segments"));
}

// How much of it is idle is not in the trace: the fix says how much must be, and does not claim to fit.
TEST(Advise, WhatCupysPoolMayHaveIdleBesidePyTorch) {
  TrainingRun run;
  for (int step = 0; step < 4; ++step) run.Iteration();
  DeviceAllocation pool;
  pool.bytes = int64_t{2} << 30;
  pool.born = 1;
  pool.library = "/p/site-packages/cupy_backends/cuda/api/runtime.cpython-311-x86_64-linux-gnu.so";
  pool.api = "cuMemAlloc";
  run.raw().device_allocations.push_back(pool);
  run.Die("train.py", 12, {1024, 1024}, int64_t{64} << 20);
  run.raw().out_of_memory.back().device_free = 1 << 20;
  Diagnosis d = Diagnose(run.timeline());
  Advise(d);
  const report::Fix* found = nullptr;
  for (const report::Fix& fix : d.report.fixes()) found = fix.id() == "cupy_free_blocks" ? &fix : found;
  ASSERT_NE(found, nullptr);
  EXPECT_FALSE(found->fits());
  EXPECT_NE(found->condition().find("of the 2.00 GiB that CuPy's pool holds are idle"), std::string::npos);
}

}  // namespace
}  // namespace oomtrace
