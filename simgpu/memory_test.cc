#include "simgpu/memory.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "simgpu/address_space.h"

namespace oomtrace::simgpu {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

DeviceMemory::Config Card(int64_t total, int64_t other = 0, int64_t context = 0) {
  return {.total = total, .other = other, .context = context};
}

TEST(DeviceMemory, ContextIsTakenOnceAndOnlyWhenAsked) {
  DeviceMemory memory(0, Card(kGiB, 100 * kMiB, 200 * kMiB));
  EXPECT_EQ(memory.free(), kGiB - 100 * kMiB);
  EXPECT_EQ(memory.used_by_this_process(), 0);
  EXPECT_TRUE(memory.BookContext());
  EXPECT_TRUE(memory.BookContext());
  EXPECT_EQ(memory.free(), kGiB - 300 * kMiB);
  EXPECT_EQ(memory.used_by_this_process(), 200 * kMiB);
  memory.DropContext();
  EXPECT_EQ(memory.free(), kGiB - 100 * kMiB);
}

TEST(DeviceMemory, AContextTakesItsAllocationsAlong) {
  DeviceMemory memory(0, Card(kGiB, 0, 200 * kMiB));
  EXPECT_TRUE(memory.BookContext());
  EXPECT_NE(memory.Allocate(100), 0u);
  const uintptr_t large = memory.Allocate(3 * kMiB);
  memory.DropContext();
  EXPECT_EQ(memory.free(), kGiB);
  EXPECT_FALSE(memory.Free(large));
}

TEST(DeviceMemory, AContextOfItsOwnIsBookedBesideThePrimaryOneAndTakesItsAllocationsAlong) {
  DeviceMemory memory(0, Card(kGiB, 0, 200 * kMiB));
  EXPECT_TRUE(memory.BookContext());
  EXPECT_TRUE(memory.BookOwnContext(16));
  EXPECT_EQ(memory.free(), kGiB - 400 * kMiB);
  const uintptr_t primary = memory.Allocate(4 * kMiB);
  const uintptr_t own = memory.Allocate(6 * kMiB, 16);
  EXPECT_FALSE(memory.DropOwnContext(32));
  EXPECT_TRUE(memory.DropOwnContext(16));
  EXPECT_FALSE(memory.DropOwnContext(16));
  EXPECT_EQ(memory.free(), kGiB - 204 * kMiB);
  EXPECT_FALSE(memory.Free(own));
  EXPECT_TRUE(memory.Free(primary));
}

TEST(DeviceMemory, TheLastHoldIsTold) {
  DeviceMemory memory(0, Card(kGiB, 0, 200 * kMiB));
  EXPECT_FALSE(memory.ReleaseContext());
  memory.HoldContext();
  memory.HoldContext();
  EXPECT_FALSE(memory.ReleaseContext());
  EXPECT_TRUE(memory.ReleaseContext());
}

TEST(DeviceMemory, ContextThatDoesNotFitIsRefused) {
  DeviceMemory memory(0, Card(kGiB, kGiB - 100 * kMiB, 200 * kMiB));
  EXPECT_FALSE(memory.BookContext());
  EXPECT_FALSE(memory.has_context());
  EXPECT_EQ(memory.free(), 100 * kMiB);
}

TEST(DeviceMemory, LargeRequestsTakeWholePages) {
  DeviceMemory memory(0, Card(kGiB));
  const uintptr_t one = memory.Allocate(kMiB);
  const uintptr_t odd = memory.Allocate(3 * kMiB + 1);
  ASSERT_NE(one, 0u);
  ASSERT_NE(odd, 0u);
  EXPECT_EQ(one % kPageBytes, 0u);
  EXPECT_EQ(memory.free(), kGiB - 2 * kMiB - 4 * kMiB);
  EXPECT_TRUE(memory.Free(one));
  EXPECT_TRUE(memory.Free(odd));
  EXPECT_EQ(memory.free(), kGiB);
}

TEST(DeviceMemory, SmallRequestsShareAPage) {
  DeviceMemory memory(0, Card(kGiB));
  std::vector<uintptr_t> blocks;
  for (int i = 0; i < 4096; ++i) {  // 4096 * 512 B = one page
    blocks.push_back(memory.Allocate(1 + static_cast<size_t>(i) % 512));
    ASSERT_NE(blocks.back(), 0u);
    EXPECT_EQ(blocks.back() % 512, 0u);
  }
  EXPECT_EQ(memory.free(), kGiB - 2 * kMiB);
  const uintptr_t next = memory.Allocate(1);
  EXPECT_EQ(memory.free(), kGiB - 4 * kMiB);
  EXPECT_TRUE(memory.Free(next));
  for (const uintptr_t block : blocks) EXPECT_TRUE(memory.Free(block));
  EXPECT_EQ(memory.free(), kGiB);
}

TEST(DeviceMemory, GapsBetweenSmallBlocksJoin) {
  DeviceMemory memory(0, Card(2 * kMiB));
  const uintptr_t a = memory.Allocate(400 << 10);
  const uintptr_t b = memory.Allocate(400 << 10);
  const uintptr_t c = memory.Allocate(400 << 10);
  const uintptr_t d = memory.Allocate(800 << 10);
  ASSERT_NE(d, 0u);
  EXPECT_EQ(memory.Allocate(400 << 10), 0u);
  EXPECT_TRUE(memory.Free(c));
  EXPECT_TRUE(memory.Free(a));
  EXPECT_TRUE(memory.Free(b));
  EXPECT_EQ(memory.Allocate(1000 << 10), a);
}

TEST(DeviceMemory, RefusesWhatDoesNotFitAndChangesNothing) {
  DeviceMemory memory(0, Card(10 * kMiB));
  const uintptr_t block = memory.Allocate(8 * kMiB);
  ASSERT_NE(block, 0u);
  EXPECT_EQ(memory.Allocate(2 * kMiB + 1), 0u);
  EXPECT_EQ(memory.free(), 2 * kMiB);
  EXPECT_NE(memory.Allocate(2 * kMiB), 0u);
  EXPECT_EQ(memory.Allocate(1), 0u);
  EXPECT_EQ(memory.Allocate(size_t{1} << 62), 0u);
}

TEST(DeviceMemory, OnlyTheStartOfALiveAllocationCanBeFreed) {
  DeviceMemory memory(0, Card(kGiB));
  const uintptr_t block = memory.Allocate(4 * kMiB);
  EXPECT_FALSE(memory.Free(block + 512));
  EXPECT_FALSE(memory.Free(0x1234));
  EXPECT_TRUE(memory.Free(block));
  EXPECT_FALSE(memory.Free(block));
}

TEST(DeviceMemory, FindsTheAllocationAroundAnAddress) {
  DeviceMemory memory(0, Card(kGiB));
  const uintptr_t block = memory.Allocate(4 * kMiB + 5);
  const auto found = memory.Find(block + kMiB);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->base, block);
  EXPECT_EQ(found->bytes, static_cast<size_t>(4 * kMiB + 5));
  EXPECT_FALSE(memory.Find(block + 4 * kMiB + 5));
}

TEST(DeviceMemory, FreshAndRecycledMemoryReadsAsZeros) {
  DeviceMemory memory(0, Card(kGiB));
  for (const size_t bytes : {size_t{1000}, size_t{3} << 20}) {
    const uintptr_t keep = memory.Allocate(100);  // keeps the shared page alive between the two rounds
    const uintptr_t first = memory.Allocate(bytes);
    EXPECT_EQ(*reinterpret_cast<const volatile char*>(first + bytes - 1), 0);
    EXPECT_TRUE(memory.Free(first));
    const uintptr_t second = memory.Allocate(bytes);
    EXPECT_EQ(*reinterpret_cast<const volatile char*>(second + bytes - 1), 0);
    EXPECT_TRUE(memory.Free(second));
    EXPECT_TRUE(memory.Free(keep));
  }
}

TEST(DeviceMemory, BooksAddUpAfterARandomRun) {
  DeviceMemory memory(0, Card(256 * kMiB, 10 * kMiB, 20 * kMiB));
  ASSERT_TRUE(memory.BookContext());
  std::mt19937 random(7);
  std::vector<uintptr_t> live;
  for (int i = 0; i < 5000; ++i) {
    if (!live.empty() && random() % 2 == 0) {
      const size_t victim = random() % live.size();
      ASSERT_TRUE(memory.Free(live[victim]));
      live[victim] = live.back();
      live.pop_back();
    } else if (const uintptr_t block = memory.Allocate(1 + random() % (i % 3 == 0 ? 8 * kMiB : 64 << 10))) {
      live.push_back(block);
    }
    ASSERT_EQ(memory.free() + memory.other() + memory.used_by_this_process(), memory.total());
  }
  for (const uintptr_t block : live) ASSERT_TRUE(memory.Free(block));
  EXPECT_EQ(memory.used_by_this_process(), 20 * kMiB);
}

TEST(DeviceMemory, ThreadsNeverOverbook) {
  DeviceMemory memory(0, Card(64 * kMiB));
  const auto work = [&memory] {
    for (int i = 0; i < 300; ++i) {
      const uintptr_t block = memory.Allocate(20 * kMiB);
      EXPECT_GE(memory.free(), 0);
      EXPECT_LE(memory.used_by_this_process(), 64 * kMiB);
      EXPECT_TRUE(block == 0 || memory.Free(block));
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(memory.free(), 64 * kMiB);
}

}  // namespace
}  // namespace oomtrace::simgpu
