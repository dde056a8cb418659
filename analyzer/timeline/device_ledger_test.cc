#include "analyzer/timeline/device_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace oomtrace {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kRange = 0x7f0000000000;
constexpr int64_t kMiB = 1 << 20;

class DeviceLedgerTest : public testing::Test {
 protected:
  void Add(trace::MemoryKind kind, uint64_t block, int64_t bytes, uint64_t handle = 0, uint64_t context = 0) {
    DeviceAllocEvent event;
    event.time = ++now_;
    event.kind = kind;
    event.address = block;
    event.bytes = bytes;
    event.handle = handle;
    event.cuda_context = context;
    DeviceAllocation allocation;
    allocation.address = block;
    allocation.bytes = bytes;
    allocation.born = now_;
    ledger_.Add(event, allocation);
  }
  std::vector<int64_t> Free(trace::MemoryKind kind, uint64_t block, int64_t bytes = 0, int32_t device = 0) {
    DeviceFreeEvent event;
    event.time = ++now_;
    event.kind = kind;
    event.address = block;
    event.bytes = bytes;
    event.device = device;
    return ledger_.Free(event);
  }
  int64_t Held() const {
    int64_t held = 0;
    for (const DeviceAllocation& allocation : allocations_)
      if (allocation.on_device && allocation.died == kNever) held += allocation.bytes;
    return held;
  }

  int64_t now_ = 0;
  std::vector<DeviceAllocation> allocations_;
  DeviceLedger ledger_{&allocations_};
};

TEST_F(DeviceLedgerTest, PhysicalMemoryLivesUntilItsLastOwnerAndMapping) {
  Add(trace::PHYSICAL, 1, 4 * kMiB);
  Add(trace::MAPPING, kRange, 4 * kMiB, 1);
  Add(trace::MAPPING, kRange + 4 * kMiB, 4 * kMiB, 1);
  EXPECT_EQ(Held(), 4 * kMiB);
  EXPECT_THAT(Free(trace::PHYSICAL, 1), IsEmpty());
  EXPECT_EQ(Held(), 4 * kMiB);
  EXPECT_THAT(Free(trace::MAPPING, kRange, 8 * kMiB), ElementsAre(1, 2, 0));
  EXPECT_EQ(Held(), 0);
}

TEST_F(DeviceLedgerTest, ARetainedHandleHasAnOwnerMore) {
  Add(trace::PHYSICAL, 1, 4 * kMiB);
  Add(trace::RETAINED, 1, 0);
  Free(trace::PHYSICAL, 1);
  EXPECT_EQ(Held(), 4 * kMiB);
  EXPECT_THAT(Free(trace::PHYSICAL, 1), ElementsAre(0));
}

TEST_F(DeviceLedgerTest, AMappingOfUnknownMemoryCountsItself) {
  Add(trace::MAPPING, kRange, 2 * kMiB, 77);
  EXPECT_EQ(Held(), 2 * kMiB);
  Free(trace::MAPPING, kRange, 2 * kMiB);
  EXPECT_EQ(Held(), 0);
}

TEST_F(DeviceLedgerTest, HostAndForeignMemoryDoNotCount) {
  for (const trace::MemoryKind kind : {trace::HOST, trace::REGISTERED, trace::MANAGED, trace::IMPORTED, trace::GRAPH,
                                       trace::POOL, trace::IMPORTED_PHYSICAL, trace::HOST_PHYSICAL, trace::MULTICAST})
    Add(kind, kRange + static_cast<uint64_t>(kind) * (16 << 20), kMiB);
  Add(trace::IMPORTED_PHYSICAL, 5, 2 * kMiB);
  Add(trace::MAPPING, kRange, 2 * kMiB, 5);
  EXPECT_EQ(Held(), 0);
}

TEST_F(DeviceLedgerTest, HandlesThatLookLikeAddressesStandApart) {
  Add(trace::DEVICE, kRange, 2 * kMiB);
  Add(trace::PHYSICAL, kRange + 512, 2 * kMiB);
  EXPECT_EQ(Held(), 4 * kMiB);
  EXPECT_THAT(Free(trace::DEVICE, kRange), ElementsAre(0));
}

TEST_F(DeviceLedgerTest, MemoryIsFreedFromAnotherDevice) {
  Add(trace::DEVICE, kRange, kMiB);
  EXPECT_THAT(Free(trace::DEVICE, kRange, 0, 1), ElementsAre(0));
  EXPECT_THAT(Free(trace::DEVICE, kRange), IsEmpty());
}

TEST_F(DeviceLedgerTest, AContextTakesAlongWhatWasAllocatedInIt) {
  Add(trace::CONTEXT, 10, 300 * kMiB);
  Add(trace::DEVICE, kRange, kMiB, 0, 10);
  Add(trace::DEVICE, kRange + kMiB, kMiB, 0, 11);
  EXPECT_THAT(Free(trace::CONTEXT, 10), ElementsAre(0, 1));
  EXPECT_EQ(Held(), kMiB);
}

TEST_F(DeviceLedgerTest, AResetFreesAllButPhysicalMemory) {
  Add(trace::DEVICE, kRange, kMiB);
  Add(trace::PHYSICAL, 1, 2 * kMiB);
  Add(trace::HOST, 2 * kRange, kMiB);
  Free(trace::CONTEXT, 0);
  EXPECT_EQ(Held(), 2 * kMiB);
  EXPECT_NE(allocations_[2].died, kNever);
}

}  // namespace
}  // namespace oomtrace
