#include "analyzer/job/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1'700'000'000 * kSecond;

RankReport Rank(int64_t rank, double seconds, const char* ended, int64_t world_size = 3) {
  RankReport r{.rank = rank, .world_size = world_size, .host = "node1", .start = kStart};
  r.report.set_pattern("healthy");
  r.report.mutable_trace()->set_seconds(seconds);
  r.report.mutable_trace()->set_ended(ended);
  r.report.mutable_peak()->set_bytes(4 * kGiB);
  r.report.mutable_peak()->set_phase("backward");
  r.report.set_steps_completed(5);
  r.report.mutable_device()->set_total(10 * kGiB);
  r.report.mutable_categories()->set_activation(2 * kGiB);
  return r;
}

RankReport Dead(int64_t rank, double seconds) {
  RankReport r = Rank(rank, seconds + 0.5, "exit 1 by OutOfMemoryError");
  r.report.set_pattern("batch_outlier");
  r.report.mutable_out_of_memory()->set_happened(true);
  r.report.mutable_out_of_memory()->set_step(5);
  r.report.mutable_out_of_memory()->set_phase("backward");
  r.report.mutable_peak()->set_bytes(9 * kGiB);
  r.report.mutable_categories()->set_activation(7 * kGiB);
  r.death = static_cast<int64_t>(seconds * 1e9);
  return r;
}

TEST(JobTest, TheFirstToRunOutIsTheCauseAndTheOthersAreItsVictims) {
  const auto job =
      MergeReports({Rank(0, 40, "exit 1 by DistBackendError"), Dead(1, 30), Rank(2, 31, "killed or still running")});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->first_rank(), 1);
  EXPECT_TRUE(job->certain());
  EXPECT_EQ(job->summary(),
            "rank 1 of 3 ran out of memory first (batch_outlier); ranks 0, 2 did not, and went down with it.");
  EXPECT_EQ(job->ranks(0).role(), "victim");
  EXPECT_THAT(job->ranks(0).fate(), HasSubstr("10.0 s after rank 1"));
  EXPECT_EQ(job->ranks(1).role(), "cause");
  EXPECT_EQ(job->ranks(2).role(), "victim");
  EXPECT_DOUBLE_EQ(job->ranks(1).of_median(), 9.0 / 4);
  EXPECT_THAT(job->reasons(), Contains(HasSubstr("Activations take (of larger batches or longer sequences) 7.00 GiB on "
                                                 "rank 1, at most 2.00 GiB on the median of the others.")));
}

TEST(JobTest, OfTwoThatRanOutTheEarlierIsFirstWhateverTheirOrder) {
  const auto job = MergeReports({Dead(2, 35), Dead(0, 30), Rank(1, 40, "exit 1")});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->first_rank(), 0);
  EXPECT_EQ(job->ranks(2).role(), "out_of_memory");
  EXPECT_THAT(job->ranks(2).fate(), HasSubstr("5.0 s later"));
}

TEST(JobTest, WhoEndedBadlyBeforeIsNoVictim) {
  const auto job = MergeReports({Rank(0, 20, "exit 1 by ValueError"), Dead(1, 30), Rank(2, 20, "exit 0")});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->ranks(0).role(), "ended");
  EXPECT_THAT(job->ranks(0).fate(), HasSubstr("10.0 s before rank 1"));
  EXPECT_EQ(job->ranks(2).fate(), "ended well");
}

TEST(JobTest, ClocksOfDifferentHostsAreNotCompared) {
  RankReport other = Dead(2, 20);
  other.host = "node2";
  const auto job = MergeReports({Rank(0, 40, "exit 1"), Dead(1, 30), other});
  ASSERT_TRUE(job.has_value());
  EXPECT_FALSE(job->certain());
  EXPECT_EQ(job->first_rank(), 2);
  EXPECT_THAT(job->notes(), Contains(HasSubstr("clocks of different hosts are not compared")));
  EXPECT_THAT(job->ranks(0).fate(), HasSubstr("is not known: another host"));
  EXPECT_EQ(job->ranks(1).fate(), "ran out of memory, too");
}

TEST(JobTest, TheReasonIsWhatDiffers) {
  RankReport dead = Dead(1, 30);
  dead.report.mutable_categories()->set_activation(2 * kGiB);
  dead.report.mutable_device()->set_other_processes(5 * kGiB);
  const auto neighbour = MergeReports({Rank(0, 40, "exit 1"), dead, Rank(2, 40, "exit 1")});
  ASSERT_EQ(neighbour->reasons_size(), 1);
  EXPECT_THAT(neighbour->reasons(0), HasSubstr("Other processes hold 5.00 GiB on rank 1, 0 B"));
  dead.report.mutable_device()->set_other_processes(0);
  dead.report.mutable_leak()->set_bytes_per_step(1 << 20);
  dead.report.mutable_leak()->set_site("train.py:7");
  const auto leak = MergeReports({Rank(0, 40, "exit 1"), dead, Rank(2, 40, "exit 1")});
  EXPECT_THAT(leak->reasons(), Contains(HasSubstr("Memory grows by 1.00 MiB a step on rank 1 (train.py:7)")));
  dead.report.mutable_leak()->set_bytes_per_step(0);
  const auto nothing = MergeReports({Rank(0, 40, "exit 1"), dead, Rank(2, 40, "exit 1")});
  EXPECT_THAT(nothing->reasons(), Contains(HasSubstr("Nothing in these traces tells rank 1 from the others")));
}

TEST(JobTest, RanksWithoutATraceAreCounted) {
  const auto job = MergeReports({Rank(0, 40, "exit 0", 8), Rank(1, 40, "exit 0", 8)});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->first_rank(), -1);
  EXPECT_THAT(job->summary(), HasSubstr("ran out of memory in these traces"));
  EXPECT_THAT(job->notes(), Contains(HasSubstr("6 of 8 ranks have no trace here")));
}

TEST(JobTest, TracesOfSeveralJobsAreNotMerged) {
  EXPECT_FALSE(MergeReports({Rank(0, 1, "exit 0")}).has_value());
  EXPECT_FALSE(MergeReports({Rank(0, 1, "exit 0"), Rank(0, 1, "exit 0")}).has_value());
  EXPECT_FALSE(MergeReports({Rank(0, 1, "exit 0", 2), Rank(1, 1, "exit 0", 4)}).has_value());
  EXPECT_FALSE(MergeReports({Rank(0, 1, "exit 0", 0), Rank(1, 1, "exit 0", 0)}).has_value());
  EXPECT_FALSE(MergeReports({Rank(-1, 1, "exit 0"), Rank(1, 1, "exit 0")}).has_value());
}

}  // namespace
}  // namespace oomtrace
