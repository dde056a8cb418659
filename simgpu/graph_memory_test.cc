#include "simgpu/graph_memory.h"

#include <gtest/gtest.h>

namespace oomtrace::simgpu {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr uintptr_t kGraph = 16, kExecutable = 32;
using Result = GraphMemory::Result;

class GraphMemoryTest : public ::testing::Test {
 protected:
  uintptr_t Allocate(size_t bytes) {
    uintptr_t address = 0;
    EXPECT_EQ(graphs_.AddAllocation(kGraph, ++node_, bytes, 0, &address), Result::kOk);
    return address;
  }
  void Free(uintptr_t address) { EXPECT_EQ(graphs_.AddFree(kGraph, ++node_, address), Result::kOk); }
  int64_t Taken() const { return 100 * static_cast<int64_t>(kMiB) - memory_.free(); }
  void SetUp() override { graphs_.AddGraph(kGraph); }

  DeviceMemory memory_{0, {.total = 100 * static_cast<int64_t>(kMiB), .other = 0, .context = 0}};
  GraphMemory graphs_{[this](int) -> DeviceMemory& { return memory_; }};
  uintptr_t node_ = 100;
};

TEST_F(GraphMemoryTest, TakesAtTheLaunchWhatItsHighestMomentNeeds) {
  const uintptr_t first = Allocate(10 * kMiB);
  Free(first);
  const uintptr_t second = Allocate(20 * kMiB);
  Free(second);
  EXPECT_EQ(Taken(), 0);
  ASSERT_EQ(graphs_.Instantiate(kGraph, kExecutable, false), Result::kOk);
  ASSERT_EQ(graphs_.Launch(kExecutable), Result::kOk);
  ASSERT_EQ(graphs_.Launch(kExecutable), Result::kOk);
  EXPECT_EQ(Taken(), 20 * static_cast<int64_t>(kMiB));
  EXPECT_EQ(graphs_.UseOf(0).used, 0u);
  EXPECT_EQ(graphs_.UseOf(0).used_high, 20 * kMiB);
  graphs_.Trim(0);
  EXPECT_EQ(Taken(), 0);
}

TEST_F(GraphMemoryTest, WhatItLeavesAllocatedForbidsAnotherLaunchUntilItIsFreed) {
  const uintptr_t address = Allocate(10 * kMiB);
  graphs_.Instantiate(kGraph, kExecutable, false);
  EXPECT_FALSE(graphs_.Free(address));
  ASSERT_EQ(graphs_.Launch(kExecutable), Result::kOk);
  EXPECT_EQ(graphs_.Launch(kExecutable), Result::kInvalid);
  graphs_.Trim(0);
  EXPECT_EQ(Taken(), 10 * static_cast<int64_t>(kMiB));
  EXPECT_TRUE(graphs_.Free(address));
  EXPECT_EQ(graphs_.Launch(kExecutable), Result::kOk);
  graphs_.Instantiate(kGraph, kExecutable + 1, true);
  EXPECT_EQ(graphs_.Launch(kExecutable + 1), Result::kOk);
  EXPECT_EQ(graphs_.Launch(kExecutable + 1), Result::kOk);
  EXPECT_EQ(graphs_.UseOf(0).used, 10 * kMiB);
}

TEST_F(GraphMemoryTest, ALaunchThatDoesNotFitTakesNothing) {
  Allocate(60 * kMiB);
  Allocate(60 * kMiB);
  graphs_.Instantiate(kGraph, kExecutable, false);
  EXPECT_EQ(graphs_.Launch(kExecutable), Result::kOutOfMemory);
  EXPECT_EQ(Taken(), 0);
  EXPECT_EQ(graphs_.UseOf(0).used, 0u);
}

TEST_F(GraphMemoryTest, WhatIsNoGraphIsRefused) {
  uintptr_t address = 0;
  EXPECT_EQ(graphs_.AddAllocation(7, 8, kMiB, 0, &address), Result::kInvalid);
  EXPECT_EQ(graphs_.AddFree(kGraph, 8, 4096), Result::kInvalid);
  EXPECT_EQ(graphs_.Instantiate(7, kExecutable, false), Result::kInvalid);
  EXPECT_EQ(graphs_.Launch(kExecutable), Result::kInvalid);
}

}  // namespace
}  // namespace oomtrace::simgpu
