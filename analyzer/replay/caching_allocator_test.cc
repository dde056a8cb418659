#include "analyzer/replay/caching_allocator.h"

#include <gtest/gtest.h>

#include "analyzer/replay/fidelity.h"
#include "analyzer/replay/replay.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
using Sizes = std::vector<int64_t>;

TEST(CachingAllocator, SmallLargeAndOwnSegments) {
  CachingAllocator allocator({});
  allocator.Allocate(1);
  allocator.Allocate(kMiB);           // behind it, in the same segment of 2 MiB
  allocator.Allocate(kMiB + 1);       // the large pool: a 20 MiB segment
  allocator.Allocate(10 * kMiB);      // fits in what is left of it
  allocator.Allocate(10 * kMiB);      // does not: a segment of its own
  allocator.Allocate(10 * kMiB + 1);  // rounded up to 2 MiB
  EXPECT_EQ(allocator.segments(), (Sizes{2 * kMiB, 20 * kMiB, 10 * kMiB, 12 * kMiB}));
  EXPECT_EQ(allocator.reserved(), 44 * kMiB);
}

TEST(CachingAllocator, RestOfALargeSegmentUpToOneMiBIsNotSplitOff) {
  CachingAllocator allocator({});
  allocator.Allocate(11 * kMiB + 512);  // segment of 12 MiB, 1 MiB - 512 B left over: the block keeps it
  EXPECT_EQ(allocator.allocated(), 12 * kMiB);
  EXPECT_EQ(allocator.reserved(), 12 * kMiB);
}

TEST(CachingAllocator, BestFitTakesTheSmallestThatIsLargeEnough) {
  CachingAllocator allocator({});
  const auto big = allocator.Allocate(64 * kMiB);
  const auto middle = allocator.Allocate(32 * kMiB);
  allocator.Free(big);
  allocator.Free(middle);
  allocator.Allocate(30 * kMiB);
  allocator.Allocate(64 * kMiB);  // still whole, as 30 came out of 32
  EXPECT_EQ(allocator.segments(), (Sizes{64 * kMiB, 32 * kMiB}));
}

TEST(CachingAllocator, NeighboursMergeSoThatALargerRequestFits) {
  CachingAllocator allocator({});
  const auto whole = allocator.Allocate(40 * kMiB);
  allocator.Free(whole);
  const auto first = allocator.Allocate(20 * kMiB);
  const auto second = allocator.Allocate(20 * kMiB);
  allocator.Free(first);
  allocator.Free(second);
  allocator.Allocate(40 * kMiB);
  EXPECT_EQ(allocator.segments().size(), 1u);
}

// The shape of every fragmentation death: enough is unallocated, none of it in one piece.
TEST(CachingAllocator, RefusesThoughEnoughIsUnallocated) {
  for (const bool expandable : {false, true}) {
    CachingAllocator allocator({.expandable_segments = expandable, .capacity = 100 * kMiB});
    std::vector<CachingAllocator::Handle> freed;
    for (int i = 0; i < 5; ++i) {
      allocator.Allocate(5 * kMiB);
      freed.push_back(allocator.Allocate(15 * kMiB));
    }
    for (const auto handle : freed) allocator.Free(handle);
    EXPECT_EQ(allocator.allocated(), 25 * kMiB);
    EXPECT_EQ(allocator.reserved(), 100 * kMiB);
    // Neither setting helps here: the pages of 20 MiB are each held by 5 MiB.
    EXPECT_EQ(allocator.Allocate(60 * kMiB), nullptr);
  }
}

TEST(CachingAllocator, ExpandableServesWhatSegmentsOfTheirOwnCannot) {
  for (const bool expandable : {false, true}) {
    CachingAllocator allocator({.expandable_segments = expandable, .capacity = 100 * kMiB});
    const auto a = allocator.Allocate(40 * kMiB);
    const auto b = allocator.Allocate(40 * kMiB);
    allocator.Allocate(20 * kMiB);
    allocator.Free(a);
    const auto c = allocator.Allocate(10 * kMiB);
    allocator.Free(b);
    EXPECT_EQ(allocator.Allocate(60 * kMiB) != nullptr, expandable);
    allocator.Free(c);
  }
}

TEST(CachingAllocator, UnusedSegmentsGoBackBeforeARequestIsRefused) {
  CachingAllocator allocator({.capacity = 100 * kMiB});
  allocator.Free(allocator.Allocate(60 * kMiB));
  EXPECT_NE(allocator.Allocate(80 * kMiB), nullptr);
  EXPECT_EQ(allocator.reserved(), 80 * kMiB);
  EXPECT_EQ(allocator.peak_reserved(), 80 * kMiB);
}

TEST(CachingAllocator, ExpandableGrowsInPlaceByPages) {
  CachingAllocator allocator({.expandable_segments = true, .capacity = 1000 * kMiB});
  const auto a = allocator.Allocate(30 * kMiB);  // two pages of 20 MiB
  EXPECT_EQ(allocator.reserved(), 40 * kMiB);
  allocator.Free(a);
  allocator.Allocate(50 * kMiB);  // one page more, in the same place
  EXPECT_EQ(allocator.reserved(), 60 * kMiB);
  allocator.Allocate(1000);  // the small pool has a segment of its own, 2 MiB pages
  EXPECT_EQ(allocator.reserved(), 62 * kMiB);
}

TEST(CachingAllocator, ExpandableGivesInnerPagesBack) {
  CachingAllocator allocator({.expandable_segments = true, .capacity = 100 * kMiB});
  const auto a = allocator.Allocate(10 * kMiB);
  const auto b = allocator.Allocate(60 * kMiB);
  allocator.Allocate(10 * kMiB);
  EXPECT_EQ(allocator.reserved(), 80 * kMiB);
  allocator.Free(b);  // spans 10..70: whole pages 20..60 can go
  allocator.EmptyCache();
  EXPECT_EQ(allocator.reserved(), 40 * kMiB);
  allocator.Free(a);
  allocator.EmptyCache();
  EXPECT_EQ(allocator.reserved(), 20 * kMiB);
}

TEST(AllocatorConfig, ReadsTheSettingsThatChangePlacement) {
  const AllocatorConfig config = ParseAllocatorConfig("max_split_size_mb:128, expandable_segments:True,other:[1,2]");
  EXPECT_TRUE(config.expandable_segments);
  EXPECT_EQ(config.max_split_size, 128 * kMiB);
  EXPECT_FALSE(ParseAllocatorConfig("expandable_segments:False").expandable_segments);
}

Timeline TwoTensors(int64_t segment_bytes) {
  Timeline timeline;
  timeline.tensors.resize(2);
  timeline.tensors[0].bytes = 30 * kMiB;
  timeline.tensors[0].born = 10;
  timeline.tensors[0].died = 20;
  timeline.tensors[1].bytes = 40 * kMiB;
  timeline.tensors[1].born = 30;
  for (const auto& [bytes, born] : {std::pair<int64_t, int64_t>{30 * kMiB, 9}, {segment_bytes, 29}}) {
    DeviceAllocation segment;
    segment.bytes = bytes;
    segment.born = born;
    segment.address = static_cast<uint64_t>(born) << 30;
    segment.caching_allocator = true;
    timeline.device_allocations.push_back(segment);
  }
  return timeline;
}

TEST(Replay, OtherAllocatorsAreNotModelled) {
  Timeline timeline;
  EXPECT_TRUE(UsesCachingAllocator(timeline));
  for (const char* setting : {"PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64,backend:cudaMallocAsync",
                              "PYTORCH_ALLOC_CONF=backend:cudaMallocAsync", "PYTORCH_NO_CUDA_MEMORY_CACHING=1"}) {
    timeline.process.environment = {"RANK=0", setting};
    EXPECT_FALSE(UsesCachingAllocator(timeline)) << setting;
  }
  timeline.process.environment = {"PYTORCH_ALLOC_CONF=expandable_segments:True"};
  EXPECT_TRUE(UsesCachingAllocator(timeline));
}

TEST(Replay, FidelityCountsWhatDiffers) {
  EXPECT_TRUE(CheckFidelity(TwoTensors(40 * kMiB)).Holds());
  const Fidelity wrong = CheckFidelity(TwoTensors(42 * kMiB));
  EXPECT_EQ(wrong.matched, 1);
  EXPECT_EQ(wrong.of, 2);
}

TEST(CachingAllocator, AListIsServedFromItsOwnFreeBlocks) {
  CachingAllocator allocator({.capacity = 100 * kMiB});
  allocator.Free(allocator.Allocate(40 * kMiB, 0));
  allocator.Free(allocator.Allocate(40 * kMiB, 1));
  EXPECT_EQ(allocator.segments(), (Sizes{40 * kMiB, 40 * kMiB}));
  EXPECT_NE(allocator.Allocate(60 * kMiB, 0), nullptr);  // both lists gave back what they had
  EXPECT_EQ(allocator.reserved(), 60 * kMiB);
}

TEST(CachingAllocator, APrivatePoolKeepsWhatItHas) {
  CachingAllocator allocator({.capacity = 100 * kMiB});
  allocator.SetPrivate(1);
  allocator.Free(allocator.Allocate(40 * kMiB, 1));
  EXPECT_EQ(allocator.Allocate(80 * kMiB, 0), nullptr);
  EXPECT_EQ(allocator.reserved(), 40 * kMiB);
  allocator.ReleasePrivate(1);
  EXPECT_NE(allocator.Allocate(80 * kMiB, 0), nullptr);
}

TEST(Replay, RefusedRequestIsPartOfThePeak) {
  const ReplayResult result =
      RunStream({{1, 30 * kMiB}, {2, 40 * kMiB}}, {.capacity = 64 * kMiB}, Timeline().free_lists);
  EXPECT_FALSE(result.fits);
  EXPECT_EQ(result.refused, 40 * kMiB);
  EXPECT_EQ(result.peak_allocated, 70 * kMiB);
}

}  // namespace
}  // namespace oomtrace
