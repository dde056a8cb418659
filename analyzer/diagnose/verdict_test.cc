#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/logits.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/testing/training_run.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

// An evaluation whose every batch leaves `kept` bytes behind.
void EvaluateAndKeep(TrainingRun& run, int batches, int64_t kept) {
  run.EnterPhase(PhaseKind::kEvaluation);
  for (int batch = 0; batch < batches; ++batch) {
    const uint32_t input = run.Allocate("train.py", 40, {16, 1024}, 128 << 10, Category::kInput);
    const uint32_t hidden = run.Allocate("model.py", 200, {16, 1024, 768}, 48 * kMiB, Category::kTemporary);
    run.Allocate("model.py", 210, {16, 1000}, kept, Category::kTemporary);
    run.Free(hidden);
    run.Free(input);
  }
}

TEST(KeptOutputs, AnEvaluationThatKeepsItsOutputsIsNamedWithTheirHolder) {
  TrainingRun run;
  for (int i = 0; i < 3; ++i) run.Iteration();
  EvaluateAndKeep(run, 40, 250 * kMiB);
  for (Tensor& tensor : run.raw().tensors) {
    if (tensor.bytes == 250 * kMiB) tensor.holder = "preds[3]";
  }
  run.Die("model.py", 200, {16, 1024, 768}, 48 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_TRUE(d.kept.found);
  EXPECT_EQ(d.kept.bytes, 40 * 250 * kMiB);
  EXPECT_EQ(d.kept.per_batch, 250 * kMiB);
  EXPECT_EQ(d.report.pattern(), "eval_spike");
  ASSERT_GT(d.report.causes_size(), 0);
  EXPECT_EQ(d.report.causes(0).id(), "evaluation_accumulates_outputs");
  EXPECT_EQ(d.report.culprit().line(), 210);
  EXPECT_EQ(d.report.culprit().holder(), "preds[3]");
}

// `with torch.no_grad():` inside the loop: between two batches it is no evaluation by its phase.
TEST(KeptOutputs, AnEvaluationGoesOnBetweenItsBatches) {
  TrainingRun run;
  run.Iteration();
  run.Iteration();
  for (int batch = 0; batch < 12; ++batch) {
    run.EnterPhase(PhaseKind::kEvaluation);
    const uint32_t input = run.Allocate("train.py", 40, {8, 64}, 2048, Category::kInput);
    run.Allocate("train.py", 41, {8, 1000}, 700 * kMiB, Category::kTemporary);
    run.EnterPhase(PhaseKind::kBetweenSteps);
    run.Free(input);
  }
  run.EnterPhase(PhaseKind::kEvaluation);
  run.Die("model.py", 201, {8, 1000}, 4 * kGiB);
  EXPECT_EQ(Diagnose(run.timeline()).report.causes(0).id(), "evaluation_accumulates_outputs");
}

// all = torch.cat([all, new])
TEST(KeptOutputs, WhatEachBatchReplacesByALargerOneIsKept) {
  TrainingRun run;
  run.Iteration();
  run.Iteration();
  run.EnterPhase(PhaseKind::kEvaluation);
  uint32_t joined = 0;
  for (int64_t batch = 1; batch <= 12; ++batch) {
    const uint32_t input = run.Allocate("train.py", 40, {8, 64}, 2048, Category::kInput);
    const uint32_t longer = run.Allocate("train.py", 41, {8 * batch, 1000}, batch * 400 * kMiB, Category::kTemporary);
    if (batch > 1) run.Free(joined);
    joined = longer;
    run.Free(input);
  }
  run.raw().tensors[joined].holder = "outputs (local of evaluate(), train.py:41)";
  run.Die("train.py", 41, {104, 1000}, 13 * 400 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_TRUE(d.kept.found);
  EXPECT_TRUE(d.kept.joining);
  EXPECT_EQ(d.kept.per_batch, 400 * kMiB);
  EXPECT_EQ(d.report.causes(0).id(), "evaluation_accumulates_outputs");
  EXPECT_EQ(d.report.culprit().holder(), "outputs (local of evaluate(), train.py:41)");
}

// x, t = x.cuda(), t.cuda()
TEST(KeptOutputs, ImageAndLabelOfOneLineAreOneBatch) {
  TrainingRun run;
  for (int i = 0; i < 3; ++i) run.Iteration();
  run.EnterPhase(PhaseKind::kEvaluation);
  for (int batch = 0; batch < 40; ++batch) {
    const uint32_t image = run.Allocate("train.py", 40, {16, 1024}, 128 << 10, Category::kInput);
    run.Free(image);
    run.Free(run.Allocate("train.py", 40, {16}, 512, Category::kInput));
    run.Allocate("model.py", 210, {16, 1000}, 250 * kMiB, Category::kTemporary);
  }
  run.Die("model.py", 210, {16, 1000}, 250 * kMiB);
  EXPECT_TRUE(Diagnose(run.timeline()).kept.found);
}

TEST(KeptOutputs, LayersOfOneBatchAreNone) {
  TrainingRun run;
  for (int i = 0; i < 3; ++i) run.Iteration();
  run.EnterPhase(PhaseKind::kEvaluation);
  run.Allocate("train.py", 40, {16, 1024}, 128 << 10, Category::kInput);
  for (int layer = 0; layer < 40; ++layer) {
    run.Allocate("model.py", 210, {16, 1024, 768}, 250 * kMiB, Category::kTemporary);
  }
  run.Die("model.py", 210, {16, 1024, 768}, 250 * kMiB);
  // Births at one line, and nothing that says where a batch ends but the one input.
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "eval_spike");
  EXPECT_FALSE(d.kept.found);
}

TEST(Causes, WhatLeaksLeadsWhereItDecides) {
  TrainingRun run;
  run.Allocate("model.py", 5, {12288, 1024}, 48 * kMiB, Category::kParameter);
  for (int step = 0; step < 40; ++step)
    run.Iteration([&] { run.Keep("train.py", 31, {256, 12288}, 220 * kMiB, true); });
  run.Forward(16, 0.5);
  run.Die("model.py", 101, {16, 1024, 768}, 4 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_EQ(d.report.pattern(), "gradual_leak");
  ASSERT_GT(d.report.causes_size(), 0);
  EXPECT_EQ(d.report.causes(0).id(), "accumulating_tensors");
  for (const report::Cause& cause : d.report.causes()) EXPECT_NE(cause.id(), "logits_too_large");
}

TEST(Causes, DataCopiedBeforeAnyModelRanIsNoBatch) {
  TrainingRun run;
  for (int shard = 0; shard < 8; ++shard) run.Allocate("train.py", 18, {1000, 3}, kGiB, Category::kInput);
  run.Die("train.py", 18, {1000, 3}, 4 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.pattern(), "at_start");
  EXPECT_EQ(d.report.causes(0).id(), "data_on_card");
}

TEST(LogitsEvidence, AWideLayerAloneIsNoVocabulary) {
  TrainingRun run;
  run.Allocate("model.py", 5, {12288, 1024}, 48 * kMiB, Category::kParameter);
  const uint32_t output = run.Keep("model.py", 50, {256, 12288}, 12 * kMiB, true);
  const uint32_t layout = run.raw().tensors[output].layout;
  EXPECT_FALSE(Logits(run.timeline()).Is(layout));
  // With a target for each of its rows it is.
  const uint32_t target = run.Allocate("train.py", 21, {256}, 2048, Category::kInput);
  run.raw().layouts[run.raw().tensors[target].layout].dtype = "int64";
  EXPECT_TRUE(Logits(run.timeline()).Is(layout));
}

TEST(LateAllocation, TheCulpritIsWhatIsNew) {
  TrainingRun::Sizes sizes;
  sizes.total = 5 * kGiB;
  TrainingRun run(sizes);
  for (int step = 0; step < 10; ++step) run.Iteration();
  for (int i = 0; i < 4; ++i) run.Allocate("train.py", 60, {175 * 1024, 1024}, 700 * kMiB, Category::kParameter);
  run.Forward(16, 0.5);
  run.Die("model.py", 102, {16, 1024, 768}, 400 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_EQ(d.report.pattern(), "late_allocation");
  EXPECT_EQ(d.report.culprit().line(), 60);
  EXPECT_EQ(d.report.causes(0).id(), "late_allocation");
}

// What runs in every step since the first is not new, though nothing of it was there when the first one ended.
TEST(LateAllocation, WhatRanInEachStepIsNotNew) {
  TrainingRun::Sizes sizes;
  sizes.total = 5 * kGiB;
  TrainingRun run(sizes);
  for (int step = 0; step < 10; ++step) {
    run.Iteration();
    run.Free(run.Allocate("train.py", 60, {64, 1024}, 256 << 10, Category::kUnknown));
  }
  run.Allocate("train.py", 60, {700 * 1024, 1024}, 2800 * kMiB, Category::kUnknown);
  run.Die("model.py", 102, {16, 1024, 768}, 400 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  for (const std::string& sentence : d.report.evidence())
    EXPECT_FALSE(absl::StrContains(sentence, "train.py:60, which had not run before")) << sentence;
}

TEST(Culprit, BytesAreTheTensorsOwn) {
  TrainingRun run;
  for (int step = 0; step < 20; ++step) {
    run.Iteration([&] { run.raw().tensors[run.Keep("train.py", 31, {64, 1000}, 512 * kMiB)].bytes += kMiB; });
  }
  run.Forward(16, 0.5);
  run.Die("model.py", 101, {16, 1024, 768}, 4 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_EQ(d.report.pattern(), "gradual_leak");
  EXPECT_EQ(d.report.culprit().bytes(), 512 * kMiB);
}

TEST(Culprit, AHealthyRunHasOneOnlyWhereLittleIsLeft) {
  TrainingRun roomy;
  for (int i = 0; i < 3; ++i) roomy.Iteration();
  EXPECT_TRUE(Diagnose(roomy.timeline()).report.culprit().file().empty());
  TrainingRun::Sizes sizes;
  sizes.total = 3600 * kMiB;
  TrainingRun tight(sizes);
  for (int i = 0; i < 3; ++i) tight.Iteration();
  EXPECT_FALSE(Diagnose(tight.timeline()).report.culprit().file().empty());
}

TEST(States, WhatNoBatchCanFitIsSaidPlainly) {
  TrainingRun::Sizes sizes;
  sizes.parameters = 4 * kGiB;
  TrainingRun run(sizes);
  run.Forward(1, 0.5);
  run.Die("model.py", 101, {1, 1024, 768}, 10 * kGiB);
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.causes(0).id(), "model_states_too_large");
  bool said = false;
  for (const std::string& sentence : d.report.evidence()) {
    said = said || (absl::StrContains(sentence, "No batch size helps") && absl::StrContains(sentence, "16.00 GiB"));
  }
  EXPECT_TRUE(said);
}

TEST(Words, AContainerIsNamedWithoutTheElement) {
  EXPECT_EQ(Container("samples[778]"), "samples");
  EXPECT_EQ(Container("preds[173] (local of validate())"), "preds (local of validate())");
  EXPECT_EQ(Container("cache[key]"), "cache[key]");
}

}  // namespace
}  // namespace oomtrace
