#include "simgpu/virtual_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "simgpu/address_space.h"
#include "simgpu/memory_pool.h"

namespace oomtrace::simgpu {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
using Result = VirtualMemory::Result;

TEST(VirtualMemory, PhysicalMemoryLivesUntilReleasedAndUnmapped) {
  DeviceMemory memory(0, {.total = 100 << 20, .other = 0, .context = 0});
  VirtualMemory& vm = VirtualMemory::Get();
  uintptr_t range = 0;
  ASSERT_EQ(vm.Reserve(1024 * kMiB, 0, &range), Result::kOk);
  EXPECT_EQ(memory.free(), 100 << 20) << "an address costs nothing";
  uint64_t handle = 0;
  ASSERT_EQ(vm.Create(memory, 0, 20 * kMiB, &handle), Result::kOk);
  EXPECT_EQ(memory.free(), 80 << 20);
  ASSERT_EQ(vm.Map(range, 20 * kMiB, 0, handle), Result::kOk);
  EXPECT_EQ(vm.CheckMapped(range, 20 * kMiB), Result::kOk);
  EXPECT_EQ(vm.CheckMapped(range, 21 * kMiB), Result::kInvalid);
  ASSERT_EQ(vm.Release(handle), Result::kOk);
  EXPECT_EQ(memory.free(), 80 << 20) << "still mapped";
  EXPECT_EQ(vm.FreeRange(range, 1024 * kMiB), Result::kInvalid) << "still mapped";
  ASSERT_EQ(vm.Unmap(range, 20 * kMiB), Result::kOk);
  EXPECT_EQ(memory.free(), 100 << 20);
  EXPECT_EQ(vm.FreeRange(range, 1024 * kMiB), Result::kOk);
}

TEST(VirtualMemory, AFailedGrowthRollsBack) {
  DeviceMemory memory(0, {.total = 100 << 20, .other = 0, .context = 0});
  VirtualMemory& vm = VirtualMemory::Get();
  std::vector<uint64_t> handles;
  uint64_t handle = 0;
  while (vm.Create(memory, 0, 20 * kMiB, &handle) == Result::kOk) handles.push_back(handle);
  EXPECT_EQ(handles.size(), 5u);
  EXPECT_EQ(vm.Create(memory, 0, 2 * kMiB, &handle), Result::kOutOfMemory);
  for (const uint64_t created : handles) EXPECT_EQ(vm.Release(created), Result::kOk);
  EXPECT_EQ(memory.free(), 100 << 20);
  EXPECT_EQ(vm.Release(handles[0]), Result::kInvalid);
}

TEST(VirtualMemory, MappingsMustNotOverlapOrLeaveTheRange) {
  DeviceMemory memory(0, {.total = 100 << 20, .other = 0, .context = 0});
  VirtualMemory& vm = VirtualMemory::Get();
  uintptr_t range = 0;
  ASSERT_EQ(vm.Reserve(8 * kMiB, 0, &range), Result::kOk);
  uint64_t handle = 0;
  ASSERT_EQ(vm.Create(memory, 0, 4 * kMiB, &handle), Result::kOk);
  EXPECT_EQ(vm.Map(range + 6 * kMiB, 4 * kMiB, 0, handle), Result::kInvalid);
  EXPECT_EQ(vm.Map(range, 6 * kMiB, 0, handle), Result::kInvalid) << "longer than the handle";
  ASSERT_EQ(vm.Map(range, 4 * kMiB, 0, handle), Result::kOk);
  EXPECT_EQ(vm.Map(range + 2 * kMiB, 4 * kMiB, 0, handle), Result::kInvalid);
  EXPECT_EQ(vm.Unmap(range, 2 * kMiB), Result::kInvalid) << "part of a mapping";
  ASSERT_EQ(vm.Unmap(range, 4 * kMiB), Result::kOk);
  ASSERT_EQ(vm.Release(handle), Result::kOk);
  ASSERT_EQ(vm.FreeRange(range, 8 * kMiB), Result::kOk);
  EXPECT_EQ(memory.free(), 100 << 20);
}

TEST(VirtualMemory, SizesMustBeWholePages) {
  DeviceMemory memory(0, {.total = 100 << 20, .other = 0, .context = 0});
  uint64_t handle = 0;
  uintptr_t range = 0;
  EXPECT_EQ(VirtualMemory::Get().Create(memory, 0, kMiB, &handle), Result::kInvalid);
  EXPECT_EQ(VirtualMemory::Get().Reserve(0, 0, &range), Result::kInvalid);
}

TEST(MemoryPool, KeepsWhatItsThresholdAllows) {
  DeviceMemory memory(0, {.total = 1024 << 20, .other = 0, .context = 0});
  MemoryPool pool(memory, 0);
  const uintptr_t block = pool.Allocate(100 * kMiB);
  ASSERT_NE(block, 0u);
  EXPECT_EQ(pool.used(), 100 * kMiB);
  EXPECT_EQ(pool.reserved(), 128 * kMiB);
  EXPECT_TRUE(pool.Free(block));
  EXPECT_FALSE(pool.Free(block));
  EXPECT_EQ(memory.free(), (1024 - 128) << 20) << "nothing goes back before a synchronization";
  pool.set_threshold(64 * kMiB);
  pool.Settle();
  EXPECT_EQ(pool.reserved(), 64 * kMiB);
  pool.Trim(0);
  EXPECT_EQ(memory.free(), 1024 << 20);
  EXPECT_EQ(pool.used_high(), 100 * kMiB);
  EXPECT_EQ(pool.reserved_high(), 128 * kMiB);
}

TEST(MemoryPool, ADestroyedPoolKeepsWhatIsAllocatedUntilItIsFreed) {
  DeviceMemory memory(0, {.total = 1024 << 20, .other = 0, .context = 0});
  MemoryPool pool(memory, 0);
  pool.set_threshold(~uint64_t{0});
  const uintptr_t live = pool.Allocate(10 * kMiB);
  pool.Free(pool.Allocate(90 * kMiB));
  EXPECT_FALSE(pool.Retire());
  EXPECT_EQ(memory.free(), (1024 - 10) << 20);
  EXPECT_TRUE(pool.Free(live));
  EXPECT_EQ(memory.free(), 1024 << 20);
  EXPECT_TRUE(MemoryPool(memory, 0).Retire());
}

TEST(MemoryPool, UsesTheLastPagesAndThenRefuses) {
  DeviceMemory memory(0, {.total = 42 << 20, .other = 0, .context = 0});
  MemoryPool pool(memory, 0);
  EXPECT_NE(pool.Allocate(32 * kMiB), 0u);
  EXPECT_NE(pool.Allocate(10 * kMiB), 0u);
  EXPECT_EQ(pool.Allocate(1), 0u);
  EXPECT_EQ(memory.free(), 0);
}

}  // namespace
}  // namespace oomtrace::simgpu
