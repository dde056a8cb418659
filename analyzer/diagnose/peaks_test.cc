#include "analyzer/diagnose/peaks.h"

#include <gtest/gtest.h>

#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;

int64_t Sum(const report::Categories& c) {
  return c.parameter() + c.gradient() + c.optimizer_state() + c.activation() + c.input() + c.temporary() +
         c.workspace() + c.second_copy() + c.kv_cache() + c.unknown();
}

TEST(Peaks, TheSamePeakOfEachStepIsOneAndTheNextStandsBehindIt) {
  TrainingRun run;
  const auto validate = [&run] {
    run.EnterPhase(PhaseKind::kEvaluation);
    const uint32_t scores = run.Allocate("validate.py", 7, {4096, 4096}, 3000 * kMiB, Category::kTemporary);
    run.Free(scores);
  };
  for (int i = 0; i < 4; ++i) {
    run.Iteration();
    validate();
  }
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_GE(d.report.peaks_size(), 2);
  int evaluations = 0;
  for (int i = 0; i < d.report.peaks_size(); ++i) {
    const report::HighPeak& peak = d.report.peaks(i);
    EXPECT_EQ(Sum(peak.categories()), peak.bytes());
    if (i + 1 < d.report.peaks_size()) {
      EXPECT_EQ(peak.next(), d.report.peaks(i + 1).bytes());
    }
    if (i > 0) {
      EXPECT_LE(peak.bytes(), d.report.peaks(i - 1).bytes());
    }
    if (peak.phase() != "evaluation") continue;
    ++evaluations;
    EXPECT_EQ(peak.times(), 4);
    EXPECT_EQ(peak.site(), "validate.py:7");
    EXPECT_EQ(peak.categories().temporary(), 3000 * kMiB);
  }
  EXPECT_EQ(evaluations, 1);
  EXPECT_EQ(d.report.peaks(0).bytes(), d.report.peak().bytes());
}

TEST(Peaks, ADeathIsAPeakWithTheTensorThatDidNotFit) {
  TrainingRun run;
  for (int i = 0; i < 3; ++i) run.Iteration();
  run.EnterPhase(PhaseKind::kEvaluation);
  run.Die("validate.py", 9, {8192, 8192}, 9000 * kMiB);
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_GE(d.report.peaks_size(), 2);
  EXPECT_EQ(d.report.peaks(0).site(), "validate.py:9");
  EXPECT_EQ(d.report.peaks(0).bytes(), d.report.peak().bytes());
  EXPECT_EQ(Sum(d.report.peaks(0).categories()), d.report.device().tensors());
  EXPECT_LT(d.report.peaks(0).next(), d.report.peaks(0).bytes());
}

TEST(Peaks, LayersAlikeAreOne) {
  EXPECT_EQ(ModuleOfAllLayers("transformer.h.11.mlp"), "transformer.h.*.mlp");
  EXPECT_EQ(ModuleOfAllLayers("conv1.0"), "conv1.*");
  EXPECT_EQ(ModuleOfAllLayers("4.1"), "4.1") << "of a bare Sequential";
  EXPECT_EQ(ModuleOfAllLayers(""), "");
}

}  // namespace
}  // namespace oomtrace
