#include "cli/fix_trials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

void Add(report::Fix& fix, const char* kind, const char* name, const char* value) {
  report::FixSetting& setting = *fix.add_settings();
  setting.set_kind(kind);
  setting.set_name(name);
  setting.set_value(value);
  if (setting.kind() == "flag") setting.set_separator("=");
}

// A fix of the environment and one of the batch, as the advisor makes them.
report::Report TwoFixes() {
  report::Report report;
  report.mutable_trace()->add_environment("PYTORCH_ALLOC_CONF=max_split_size_mb:64");
  Add(*report.add_fixes(), "environment", "PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True");
  report::Fix& batch = *report.add_fixes();
  Add(batch, "flag", "--bs", "4");
  Add(batch, "flag", "--acc", "2");
  Add(batch, "value", "batch_size", "4");
  Add(batch, "value", "accumulation", "2");
  report.add_fixes()->set_id("needs_an_edit");
  return report;
}

TEST(FixTrials, FlagsAreFoundInBothForms) {
  report::Report report = TwoFixes();
  const auto all = PlanTrials(report, {"train.py", "--bs", "8", "--acc=1"}, {}, 3);
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->trials.size(), 2U);
  EXPECT_THAT(all->trials[1].command, ElementsAre("train.py", "--bs", "4", "--acc=2"));
  EXPECT_THAT(all->trials[1].left_out, IsEmpty());
  EXPECT_THAT(all->skipped, IsEmpty());
}

TEST(FixTrials, AnAllocatorSettingJoinsTheOnesUnderTheNameThatTheJobUsed) {
  report::Report report = TwoFixes();
  const auto all = PlanTrials(report, {"train.py"}, {}, 1);
  EXPECT_THAT(all->trials[0].environment,
              ElementsAre(Pair("PYTORCH_ALLOC_CONF", "max_split_size_mb:64,expandable_segments:True")));
  report.mutable_trace()->clear_environment();
  EXPECT_THAT(PlanTrials(report, {"train.py"}, {}, 1)->trials[0].environment,
              ElementsAre(Pair("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")));
}

TEST(FixTrials, WhatTheCommandHasNoPlaceForIsNamed) {
  report::Report report = TwoFixes();
  const auto part = PlanTrials(report, {"train.py", "--batch={batch_size}"}, {{"batch_size", "8"}}, 3);
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_THAT(part->trials[0].command, ElementsAre("train.py", "--batch=8"));
  EXPECT_THAT(part->trials[1].command, ElementsAre("train.py", "--batch=4"));
  EXPECT_THAT(part->trials[1].left_out, ElementsAre("accumulation"));
  const auto none = PlanTrials(report, {"train.py", "--batch=8"}, {}, 3);
  EXPECT_EQ(none->trials.size(), 1U);
  ASSERT_EQ(none->skipped.size(), 1U);
  EXPECT_EQ(none->skipped[0]->verification().why(), "the command has no --bs and no {batch_size}");
}

TEST(FixTrials, AValueWithoutAPlaceAndAPlaceWithoutAValueAreErrors) {
  report::Report report = TwoFixes();
  EXPECT_THAT(PlanTrials(report, {"train.py", "{batch_size}"}, {{"batchsize", "8"}}, 3).status().message(),
              HasSubstr("no {batchsize}; its places are {batch_size}"));
  EXPECT_THAT(PlanTrials(report, {"train.py", "{lr}"}, {}, 3).status().message(), HasSubstr("--vary lr=VALUE"));
}

}  // namespace
}  // namespace oomtrace
