#include "analyzer/timeline/gpu_time.h"

#include <gtest/gtest.h>

namespace oomtrace {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 10 * kSecond;  // of the collector, on the trace's clock
constexpr uint32_t kDevice = 3;           // CUpti_ActivityMemoryKind
constexpr uint32_t kPinned = 2;

class GpuTimeTest : public ::testing::Test {
 protected:
  GpuTimeTest() : builder_(tables_) {
    tables_.libraries[1] = {.path = "libhidden.so"};
    tables_.strings[1] = "gemm";
    timeline_.end = 100 * kSecond;
    State(kStart, trace::CollectorState::MEMORY);
    trace::CollectorClock clock;
    clock.set_time(0);
    builder_.OnClock(kStart, clock);
  }

  void State(int64_t time, trace::CollectorState::State state) {
    trace::CollectorState event;
    event.set_state(state);
    builder_.OnState(time, event);
  }
  void Hooked(uint64_t address, int64_t bytes, int64_t born, MemoryKind kind = MemoryKind::kDevice) {
    DeviceAllocation allocation;
    allocation.address = address;
    allocation.bytes = bytes;
    allocation.born = born;
    allocation.kind = kind;
    timeline_.device_allocations.push_back(allocation);
  }
  // `time` is the collector's.
  void Cupti(uint64_t address, uint64_t bytes, uint64_t time, bool release = false, uint32_t kind = kDevice) {
    trace::CuptiMemory event;
    event.set_address(address);
    event.set_bytes(bytes);
    event.set_time(time);
    event.set_release(release);
    event.set_kind(kind);
    event.set_source(1);
    builder_.OnMemory(event);
  }
  void Kernel(uint32_t correlation, uint64_t start, uint64_t duration, uint32_t graph = 0) {
    trace::GpuActivity event;
    event.set_kind(trace::GpuActivity::KERNEL);
    event.set_correlation(correlation);
    event.set_start(start);
    event.set_duration(duration);
    event.set_name(1);
    event.set_graph(graph);
    builder_.OnActivity(event);
  }
  void Launch(uint64_t id, uint32_t correlation, const std::vector<int64_t>& tensors, bool unknown = false) {
    timeline_.tensors.resize(4);
    std::vector<LaunchAddress> addresses;
    for (const int64_t tensor : tensors) addresses.push_back({tensor, true});
    trace::Launch event;
    event.set_id(id);
    event.set_unknown(unknown);
    builder_.OnLaunch(kStart + static_cast<int64_t>(id), event, 7, std::move(addresses));
    trace::Correlation join;
    join.set_launch(id);
    join.set_correlation(correlation);
    builder_.OnCorrelation(join);
  }
  const GpuTime& Finish() {
    builder_.Finish(&timeline_);
    return timeline_.gpu_time;
  }

  Tables tables_;
  Timeline timeline_;
  GpuTimeBuilder builder_;
};

TEST_F(GpuTimeTest, WhatNoHookSawIsNamedByItsLibrary) {
  Hooked(0x1000, 4096, kStart + 1000);
  Cupti(0x1000, 4096, 900);
  Cupti(0x2000, 8192, 2000);
  Cupti(0x3000, 512, 3000);
  Cupti(0x3000, 0, 4000, true);
  Cupti(0x4000, 1 << 20, 5000, false, kPinned);
  const GpuTime& gpu = Finish();
  EXPECT_EQ(gpu.audited_count, 3) << "memory of the host is not audited";
  EXPECT_EQ(gpu.audited_bytes, 4096 + 8192 + 512);
  ASSERT_EQ(gpu.unseen.size(), 1u);
  EXPECT_EQ(gpu.unseen[0].source, "libhidden.so");
  EXPECT_EQ(gpu.unseen[0].bytes, 8192 + 512);
  EXPECT_EQ(gpu.unseen[0].live, 8192);
  EXPECT_EQ(gpu.unseen[0].count, 2);
  EXPECT_EQ(gpu.unlisted_bytes, 0);
}

TEST_F(GpuTimeTest, AnAddressThatAHookSawEarlierIsUnseenWhenItComesAgain) {
  Hooked(0x1000, 4096, kStart + 1000);
  Cupti(0x1000, 4096, 1000);
  Cupti(0x1000, 0, 2000, true);
  Cupti(0x1000, 4096, 3000);
  const GpuTime& gpu = Finish();
  ASSERT_EQ(gpu.unseen.size(), 1u);
  EXPECT_EQ(gpu.unseen[0].bytes, 4096);
}

TEST_F(GpuTimeTest, PhysicalMemoryIsNotInCuptisList) {
  Hooked(0x1000, 4096, kStart + 1000);
  Hooked(1, 2 << 20, kStart + 2000, MemoryKind::kPhysical);
  Hooked(2, 2 << 20, kStart - 2000, MemoryKind::kPhysical);  // before the collector
  Cupti(0x1000, 4096, 1000);
  EXPECT_EQ(Finish().unlisted_bytes, 2 << 20);
}

TEST_F(GpuTimeTest, WhatWasAllocatedBesideAnotherProfilerIsNoMemoryThatCuptiDoesNotList) {
  Hooked(0x1000, 1 << 20, kStart - 1000);
  State(kStart + 1000, trace::CollectorState::YIELDED);
  Hooked(0x2000, 2 << 20, kStart + 2000);
  State(kStart + 3000, trace::CollectorState::MEMORY);
  Hooked(0x3000, 4 << 20, kStart + 4000, MemoryKind::kPhysical);
  State(kStart + 5000, trace::CollectorState::DEAD);
  Hooked(0x4000, 8 << 20, kStart + 6000);
  const GpuTime& gpu = Finish();
  EXPECT_EQ(gpu.unwatched_bytes, 2 << 20);
  EXPECT_EQ(gpu.unlisted_bytes, 4 << 20);
}

TEST_F(GpuTimeTest, ATensorsUsesAreThoseOfItsLaunches) {
  State(kStart + 100, trace::CollectorState::TIMELINE);
  Launch(1, 11, {0, 1});
  Launch(2, 12, {1});
  Kernel(12, 5000, 200);
  Kernel(11, 1000, 500);
  State(kStart + 10000, trace::CollectorState::MEMORY);
  const GpuTime& gpu = Finish();
  ASSERT_EQ(gpu.uses.size(), 2u);
  EXPECT_EQ(gpu.uses.at(0).last, kStart + 1500);
  EXPECT_EQ(gpu.uses.at(1).first, kStart + 1000);
  EXPECT_EQ(gpu.uses.at(1).last, kStart + 5200);
  EXPECT_EQ(gpu.uses.at(1).last_launch, kStart + 2);
  EXPECT_EQ(gpu.uses.at(1).last_kernel, "gemm");
  EXPECT_EQ(gpu.uses.at(1).uses, 2);
  EXPECT_EQ(gpu.last_work, kStart + 5000);
  EXPECT_EQ(gpu.busy, 700);
  ASSERT_EQ(gpu.windows.size(), 1u);
  EXPECT_EQ(gpu.windows[0].end, kStart + 10000);
}

TEST_F(GpuTimeTest, KernelsOfUnknownParametersAreCounted) {
  Launch(1, 11, {}, true);
  Kernel(11, 1000, 10);
  Kernel(99, 2000, 10, 5);  // of a graph: nobody saw its launch
  const GpuTime& gpu = Finish();
  EXPECT_EQ(gpu.kernels, 2);
  EXPECT_EQ(gpu.unknown_parameters, 2);
  EXPECT_EQ(gpu.graph_kernels, 1);
  EXPECT_EQ(gpu.last_unknown, kStart + 2000);
  EXPECT_TRUE(gpu.uses.empty());
}

TEST(NamedRanges, PushesNestByThreadAndStartsEndByNumber) {
  Tables tables;
  tables.strings[1] = "outer";
  tables.strings[2] = "inner";
  NamedRanges ranges;
  const auto event = [&](int64_t time, uint32_t thread, trace::NvtxRange::Kind kind, uint32_t name, uint64_t range) {
    trace::NvtxRange e;
    e.set_kind(kind);
    e.set_name(name);
    e.set_range(range);
    ranges.OnRange(time, thread, e, tables);
  };
  event(1, 1, trace::NvtxRange::POP, 0, 0);  // was pushed before the recording
  event(2, 1, trace::NvtxRange::PUSH, 1, 0);
  event(3, 1, trace::NvtxRange::PUSH, 2, 0);
  event(4, 2, trace::NvtxRange::POP, 0, 0);  // another thread's
  event(5, 1, trace::NvtxRange::START, 2, 77);
  event(6, 1, trace::NvtxRange::POP, 0, 0);
  event(7, 2, trace::NvtxRange::END, 0, 77);
  const std::vector<NamedRange> found = ranges.Take();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].name, "outer");
  EXPECT_EQ(found[0].end, kNever);
  EXPECT_EQ(found[1].end, 6);
  EXPECT_EQ(found[2].begin, 5);
  EXPECT_EQ(found[2].end, 7);
}

}  // namespace
}  // namespace oomtrace
