#include "analyzer/render/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "analyzer/advise/advise.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kGiB = 1 << 30;

report::Report Death() {
  TrainingRun::Sizes sizes;
  sizes.other_processes = 2 * kGiB;
  TrainingRun run(sizes);
  run.Iteration();
  run.SetReserved(9 * kGiB);
  run.Forward(16, 0.5);
  run.Die("model.py", 120, {16, 1024, 768}, 3 * kGiB);
  Diagnosis d = Diagnose(run.timeline());
  Advise(d);
  return d.report;
}

TEST(Text, SaysWhatWhyWhoAndWhatToChangeInThisOrder) {
  const std::string text = RenderText(Death(), {});
  size_t at = 0;
  for (const char* part : {"Out of memory", "Why: first batch", "Who holds the device", "total", "What to change"}) {
    const size_t next = text.find(part, at);
    ASSERT_NE(next, std::string::npos) << part << " is missing after:\n" << text.substr(0, at);
    at = next;
  }
}

TEST(Text, FitsOneScreen) {
  const std::vector<std::string> lines = absl::StrSplit(RenderText(Death(), {}), '\n');
  EXPECT_LE(lines.size(), 46u);
  for (const std::string& line : lines) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Text, LossesComeFirst) {
  report::Report report = Death();
  report.mutable_trace()->set_dropped(12);
  EXPECT_EQ(RenderText(report, {}).find("Incomplete trace"), 0u);
}

TEST(Text, ControlCharactersInNamesAreShownNotObeyed) {
  report::Report report = Death();
  const std::vector<std::string> before = absl::StrSplit(RenderText(report, {}), '\n');
  report.mutable_processes(0)->set_name("two\nlines\033[31m");
  const std::string text = RenderText(report, {});
  EXPECT_THAT(text, HasSubstr("two\\nlines\\033[31m"));
  EXPECT_EQ(std::vector<std::string>(absl::StrSplit(text, '\n')).size(), before.size());
}

TEST(Text, NvtxRangesOfADeathAreNamed) {
  report::Report report = Death();
  report.mutable_out_of_memory()->add_ranges("epoch 3");
  report.mutable_out_of_memory()->add_ranges("forward");
  EXPECT_THAT(RenderText(report, {}), HasSubstr("In the NVTX ranges epoch 3 > forward."));
}

TEST(Text, ColourOnlyWhenAsked) {
  EXPECT_THAT(RenderText(Death(), {.color = false}), Not(HasSubstr("\033[")));
  EXPECT_THAT(RenderText(Death(), {.color = true}), HasSubstr("\033["));
}

TEST(Text, LittleHeadroomIsCalledTight) {
  report::Report report = Death();
  report.clear_fixes();
  report::Fix* fix = report.add_fixes();
  fix->set_fits(true);
  fix->set_headroom(report.device().total() / 100);
  EXPECT_THAT(RenderText(report, {}), HasSubstr("fits, tight"));
  fix->set_headroom(report.device().total() / 10);
  EXPECT_THAT(RenderText(report, {}), Not(HasSubstr("tight")));
}

TEST(Text, WhatIsNotEnoughAloneIsOneLineWhereSomethingFits) {
  report::Report report = Death();
  report.clear_fixes();
  for (const char* title : {"Small change", "Other change"}) {
    report::Fix* fix = report.add_fixes();
    fix->set_title(title);
    fix->set_headroom(-kGiB);
  }
  EXPECT_THAT(RenderText(report, {}), Not(HasSubstr("Not enough alone")));
  report.mutable_fixes(0)->set_fits(true);
  EXPECT_THAT(RenderText(report, {}), HasSubstr("Not enough alone: Other change (1.00 GiB too much)."));
}

TEST(Text, AWeakCauseIsLeftToTheJson) {
  report::Report report = Death();
  report.clear_causes();
  for (const auto& [title, confidence] : {std::pair<const char*, double>{"the reason", 0.9}, {"an aside", 0.4}}) {
    report::Cause* cause = report.add_causes();
    cause->set_title(title);
    cause->set_confidence(confidence);
  }
  EXPECT_THAT(RenderText(report, {}), HasSubstr("the reason"));
  EXPECT_THAT(RenderText(report, {}), Not(HasSubstr("an aside")));
}

TEST(Text, AProcessWithoutANameIsItsNumber) {
  report::Report report = Death();
  report.clear_processes();
  report.add_processes()->set_pid(4194305);
  const std::string text = RenderText(report, {});
  EXPECT_THAT(text, HasSubstr("process 4194305 "));
  EXPECT_THAT(text, HasSubstr("GPU 0, Test GPU"));
}

// A hand-written update: what is counted are backward passes.
TEST(Text, StepsAreOnlyTheOptimizersWhereOneStepped) {
  TrainingRun run;
  run.Iteration();
  run.Iteration();
  EXPECT_THAT(RenderText(Diagnose(run.timeline()).report, {}), HasSubstr("2 optimizer steps completed;"));
  for (Step& step : run.raw().steps) step.optimizer = 0;
  const std::string text = RenderText(Diagnose(run.timeline()).report, {});
  EXPECT_THAT(text, HasSubstr("2 backward passes completed (no optimizer stepped);"));
  EXPECT_THAT(text, Not(HasSubstr("optimizer steps")));
}

TEST(Text, ThePhaseOfADeathReadsAsEnglish) {
  TrainingRun run;
  run.Die("train.py", 5, {1 << 20, 4096}, int64_t{16} << 30);
  EXPECT_THAT(RenderText(Diagnose(run.timeline()).report, {}), HasSubstr("Out of memory during set-up at train.py:5"));
  TrainingRun late;
  for (int i = 0; i < 3; ++i) late.Iteration();
  late.Die("train.py", 50, {1 << 20, 4096}, int64_t{16} << 30);
  EXPECT_THAT(RenderText(Diagnose(late.timeline()).report, {}), HasSubstr("Out of memory between steps at"));
}

TEST(Text, AHealthyRunShowsPeakAndLeak) {
  TrainingRun run;
  for (int i = 0; i < 10; ++i) run.Iteration([&] { run.Keep("train.py", 31, {64}, 100 << 20); });
  for (Tensor& tensor : run.raw().tensors) {
    if (tensor.bytes == 100 << 20) tensor.holder = "Trainer.history[3]";
  }
  const std::string text = RenderText(Diagnose(run.timeline()).report, {});
  EXPECT_THAT(text, HasSubstr("Healthy: peak"));
  EXPECT_THAT(text, HasSubstr("kept by Trainer.history."));
  EXPECT_THAT(text, HasSubstr("At this rate it runs out of memory"));
}

}  // namespace
}  // namespace oomtrace
