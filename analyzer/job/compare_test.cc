#include "analyzer/job/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kGiB = int64_t{1} << 30;

// A rank that died in `phase` of its step after `steps` whole ones.
RankReport Died(int64_t rank, int64_t steps, const char* phase, int64_t activations, int64_t line = 7) {
  RankReport r;
  r.rank = rank;
  r.world_size = 2;
  report::Report& report = r.report;
  report.mutable_device()->set_total(10 * kGiB);
  report.set_steps_completed(steps);
  report.mutable_out_of_memory()->set_happened(true);
  report.mutable_out_of_memory()->set_step(steps);
  report.mutable_out_of_memory()->set_phase(phase);
  report.mutable_culprit()->set_line(line);
  report.mutable_categories()->set_activation(activations);
  return r;
}

void AddPeak(RankReport& rank, int64_t activations) {
  rank.report.add_peaks()->mutable_categories()->set_activation(activations);
}

TEST(CompareRanks, OneThatDiedEarlierInItsStepIsNotCompared) {
  const RankReport worst = Died(0, 4, "backward", 4 * kGiB), behind = Died(1, 3, "forward", 0);
  const Comparison c = CompareRanks({&worst, &behind}, worst);
  EXPECT_THAT(c.reasons, ElementsAre(HasSubstr("cannot be told: none came as far")));
  EXPECT_THAT(c.notes, ElementsAre(AllOf(HasSubstr("rank 1 (died in forward of step 4)"),
                                         HasSubstr("rank 0 (died in backward of step 5)"))));
  const RankReport same_step = Died(1, 4, "forward", 0);
  EXPECT_THAT(CompareRanks({&worst, &same_step}, worst).reasons, ElementsAre(HasSubstr("cannot be told")));
}

TEST(CompareRanks, AtTheSameLineOfTheSameStepTheyAreCompared) {
  const RankReport worst = Died(0, 0, "forward", 4 * kGiB), other = Died(1, 0, "forward", kGiB);
  const Comparison c = CompareRanks({&worst, &other}, worst);
  EXPECT_THAT(c.reasons, ElementsAre(HasSubstr("4.00 GiB on rank 0, at most 1.00 GiB")));
  EXPECT_THAT(c.notes, IsEmpty());
  const RankReport elsewhere = Died(1, 0, "forward", kGiB, 8);
  EXPECT_THAT(CompareRanks({&worst, &elsewhere}, worst).reasons, ElementsAre(HasSubstr("cannot be told")));
}

TEST(CompareRanks, OfOneThatCameFurtherTheHighestOfItsPeaksCounts) {
  const RankReport worst = Died(0, 4, "forward", 4 * kGiB);
  RankReport further = Died(1, 6, "set_up", 0);
  AddPeak(further, 4 * kGiB);
  EXPECT_THAT(CompareRanks({&worst, &further}, worst).reasons, ElementsAre(HasSubstr("Nothing in these traces tells")));
}

TEST(CompareRanks, WhatLivesThroughTheRunIsComparedAnyway) {
  RankReport worst = Died(0, 4, "backward", 0), behind = Died(1, 3, "forward", 0);
  worst.report.mutable_categories()->set_parameter(4 * kGiB);
  behind.report.mutable_categories()->set_parameter(1 * kGiB);
  EXPECT_THAT(CompareRanks({&worst, &behind}, worst).reasons,
              ElementsAre(HasSubstr("Parameters take 4.00 GiB on rank 0")));
  behind.report.mutable_out_of_memory()->set_phase("set_up");
  EXPECT_THAT(CompareRanks({&worst, &behind}, worst).reasons, ElementsAre(Not(HasSubstr("Parameters"))));
}

}  // namespace
}  // namespace oomtrace
