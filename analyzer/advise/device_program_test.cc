#include "analyzer/diagnose/device_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "analyzer/advise/advise.h"
#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;
constexpr char kProgram[] = "/home/me/solver";
constexpr char kXla[] = "/p/jax_plugins/xla_cuda13/xla_cuda_plugin.so";
constexpr char kCupy[] = "/p/site-packages/cupy_backends/cuda/api/runtime.cpython-311-x86_64-linux-gnu.so";

// A program that asks the device itself, on a card of 8 GiB. Each call takes a millisecond.
class Program {
 public:
  Program() {
    timeline_.stacks.resize(1);
    timeline_.layouts.resize(1);
    timeline_.process.pid = 100;
    timeline_.devices = {{.index = 0, .name = "card", .total = 8 * kGiB}};
  }

  size_t Allocate(const std::string& library, uint64_t caller, int64_t bytes) {
    DeviceAllocation allocation;
    allocation.bytes = bytes;
    allocation.born = Tick();
    allocation.library = library;
    allocation.caller = caller;
    allocation.thread = 100;
    allocation.api = "cudaMalloc";
    timeline_.device_allocations.push_back(allocation);
    held_ += bytes;
    return timeline_.device_allocations.size() - 1;
  }

  // The device does not get back what is freed into a pool.
  size_t AllocateInPool(int64_t bytes) {
    const size_t allocation = Allocate(kProgram, 0x70, bytes);
    timeline_.device_allocations[allocation].kind = MemoryKind::kPooled;
    timeline_.device_allocations[allocation].handle = 0x900;
    return allocation;
  }
  void FreeIntoPool(size_t allocation) { timeline_.device_allocations[allocation].died = Tick(); }

  void MakeContext(int64_t bytes) {
    const size_t context = Allocate(kProgram, 0x80, bytes);
    timeline_.device_allocations[context].kind = MemoryKind::kContext;
  }

  void Free(size_t allocation) {
    timeline_.device_allocations[allocation].died = Tick();
    held_ -= timeline_.device_allocations[allocation].bytes;
  }

  void Wait(int milliseconds) {
    for (int i = 0; i < milliseconds; ++i) Tick();
  }

  void Refuse(const std::string& library, uint64_t caller, int64_t bytes) {
    OutOfMemory refusal;
    refusal.time = Tick();
    refusal.requested = bytes;
    refusal.device_total = 8 * kGiB;
    refusal.device_free = 8 * kGiB - held_;
    refusal.from_caching_allocator = false;
    refusal.fatal = true;
    refusal.library = library;
    refusal.caller = caller;
    refusal.thread = 100;
    refusal.api = "cudaMalloc";
    timeline_.out_of_memory.push_back(refusal);
  }

  void End(int64_t status) {
    timeline_.exited = true;
    timeline_.exit_status = status;
    timeline_.memory_readings.push_back({.time = Tick(), .free = 8 * kGiB - held_, .total = 8 * kGiB});
  }

  Timeline& timeline() { return timeline_; }

  report::Report Report() {
    Diagnosis diagnosis = Diagnose(timeline_);
    Advise(diagnosis);
    return diagnosis.report;
  }

 private:
  int64_t Tick() { return timeline_.end += 1'000'000; }

  Timeline timeline_;
  int64_t held_ = 0;
};

TEST(DeviceProgram, WhatAPlaceKeepsOnTakingIsALeakAndTheWorkBesideItIsNot) {
  Program program;
  program.timeline().functions[{kProgram, 0x20}] = "sim::Solver::Remember";
  for (int i = 0; i < 120; ++i) {
    const size_t scratch = program.Allocate(kProgram, 0x10, 32 * kMiB);
    program.Allocate(kProgram, 0x20, 64 * kMiB);
    program.Free(scratch);
  }
  program.Refuse(kProgram, 0x10, 600 * kMiB);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "gradual_leak");
  EXPECT_EQ(report.culprit().file(), kProgram);
  EXPECT_EQ(report.culprit().function(), "sim::Solver::Remember");
  EXPECT_EQ(report.culprit().bytes(), 120 * 64 * kMiB);
  EXPECT_EQ(report.leak().site(), "Solver::Remember in solver");
  EXPECT_DOUBLE_EQ(report.leak().bytes_per_1000_calls(), 500.0 * 64 * kMiB);
  EXPECT_EQ(report.fixes(0).id(), "stop_growth");
  EXPECT_EQ(report.fixes(0).saving(), 119 * 64 * kMiB);
}

TEST(DeviceProgram, APlaceWithoutANameIsItsOffset) {
  Program program;
  program.Refuse(kProgram, 0x1a2b, 16 * kGiB);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "at_start");
  EXPECT_EQ(report.causes(0).id(), "single_allocation_exceeds_card");
  EXPECT_EQ(report.out_of_memory().place(), "solver+0x1a2b");
}

// Many allocations at the start that all stay, as a model that is loaded makes them, are no growth.
TEST(DeviceProgram, WhatIsSetUpOnceDoesNotGrow) {
  Program program;
  for (int i = 0; i < 50; ++i) program.Allocate(kProgram, 0x10, 100 * kMiB);
  for (int i = 0; i < 200; ++i) program.Free(program.Allocate(kProgram, 0x20, 32 * kMiB));
  program.Refuse(kProgram, 0x30, 6 * kGiB);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "late_allocation");
  EXPECT_EQ(report.fixes(0).id(), "smaller_problem");
}

TEST(DeviceProgram, ProcessesOfOthersAreNamedWhereTheyHoldMore) {
  Program program;
  program.Allocate(kProgram, 0x10, kGiB);
  program.timeline().gpu_processes = {{.pid = 7, .bytes = 6 * kGiB, .self = false, .name = "other"}};
  program.Refuse(kProgram, 0x10, 2 * kGiB);
  program.timeline().out_of_memory.back().device_free = kGiB / 2;
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "other_process");
  EXPECT_EQ(report.causes(0).id(), "other_process_memory");
  EXPECT_EQ(report.fixes(0).id(), "free_other_processes");
}

TEST(DeviceProgram, AContextThatFoundNoRoomIsAnothersDoing) {
  Program program;
  program.timeline().gpu_processes = {{.pid = 7, .bytes = 8 * kGiB - 100 * kMiB, .self = false, .name = "other"}};
  program.Refuse(kProgram, 0x10, kMiB);
  program.timeline().memory_readings.clear();
  program.timeline().out_of_memory.back().device_free = program.timeline().out_of_memory.back().device_total = 0;
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "other_process");
  EXPECT_THAT(report.evidence(), Contains(HasSubstr("context itself")));
  ASSERT_EQ(report.fixes_size(), 1);
  EXPECT_EQ(report.fixes(0).id(), "free_other_processes");
}

// The driver hands out pages of 2 MiB: what is left of the last one serves nobody.
TEST(DeviceProgram, LessThanAPageFreeIsNoFragmentation) {
  Program program;
  for (int i = 0; i < 300; ++i) program.Allocate(kProgram, 0x10, kMiB / 2);
  program.Refuse(kProgram, 0x10, kMiB / 2);
  program.timeline().out_of_memory.back().device_free = kMiB;
  EXPECT_EQ(program.Report().pattern(), "gradual_leak");
}

TEST(DeviceProgram, EnoughFreeAndRefusedIsCalledFragmentation) {
  Program program;
  for (int i = 0; i < 10; ++i) program.Free(program.Allocate(kProgram, 0x10, kGiB));
  program.Refuse(kProgram, 0x10, 4 * kGiB);
  EXPECT_EQ(program.Report().pattern(), "fragmentation");
}

TEST(DeviceProgram, WhatIsGivenBackEachRoundDoesNotGrow) {
  Program program;
  for (int round = 0; round < 20; ++round) {
    size_t taken[16];
    for (size_t& one : taken) one = program.Allocate(kProgram, 0x10, 64 * kMiB);
    for (const size_t one : taken) program.Free(one);
  }
  program.End(0);
  const report::Report report = program.Report();
  EXPECT_THAT(report.summary(), Not(HasSubstr("grows")));
  EXPECT_THAT(report.evidence(), Not(Contains(HasSubstr("grows"))));
}

TEST(DeviceProgram, WhatHalfOfIsGivenBackDoesNotGrow) {
  Program program;
  for (int i = 0; i < 100; ++i) program.Allocate(kProgram, 0x10, 30 * kMiB);
  for (size_t i = 0; i < 100; i += 2) program.Free(i);
  program.End(0);
  EXPECT_THAT(program.Report().summary(), Not(HasSubstr("grows")));
}

TEST(DeviceProgram, APoolThatIsFilledAtOnceAndUsedAgainDoesNotGrow) {
  Program program;
  for (int i = 0; i < 20; ++i) program.Allocate(kCupy, 0x10, 20 * kMiB);
  program.Wait(100);
  program.End(0);
  const report::Report report = program.Report();
  EXPECT_THAT(report.summary(), Not(HasSubstr("grows")));
  EXPECT_THAT(report.evidence(), Not(Contains(HasSubstr("grew"))));
}

TEST(DeviceProgram, WhatIsKeptUntilTheEndGrows) {
  Program program;
  for (int i = 0; i < 50; ++i) {
    program.Free(program.Allocate(kProgram, 0x20, 32 * kMiB));
    program.Allocate(kProgram, 0x10, 64 * kMiB);
  }
  program.End(0);
  EXPECT_THAT(program.Report().summary(), HasSubstr("only grows"));
}

TEST(DeviceProgram, CallsFromOneFunctionAreOnePlace) {
  Program program;
  program.timeline().functions = {{{kProgram, 0x20}, "Take"}, {{kProgram, 0x28}, "Take"}};
  program.Allocate(kProgram, 0x20, kGiB);
  program.Allocate(kProgram, 0x28, kGiB);
  program.End(0);
  const report::Report report = program.Report();
  ASSERT_EQ(report.owners_size(), 1);
  EXPECT_EQ(report.owners(0).bytes(), 2 * kGiB);
  EXPECT_EQ(report.owners(0).tensors(), 2);
}

TEST(DeviceProgram, WhatIdlePoolsKeepIsTheirsAndNotTheContexts) {
  Program program;
  program.MakeContext(kGiB / 4);
  size_t pooled[60];
  for (size_t& one : pooled) one = program.AllocateInPool(100 * kMiB);
  for (const size_t one : pooled) program.FreeIntoPool(one);
  program.Refuse(kProgram, 0x10, 4 * kGiB);
  const report::Report report = program.Report();
  EXPECT_EQ(report.device().context(), kGiB / 4);
  EXPECT_EQ(report.device().other(), 6000 * kMiB);
  EXPECT_EQ(report.causes(0).id(), "idle_pools");
  EXPECT_THAT(report.evidence(), Not(Contains(HasSubstr("even with everything else"))));
  EXPECT_EQ(report.fixes(0).id(), "trim_pool");
  EXPECT_TRUE(report.fixes(0).fits());
}

TEST(DeviceProgram, PoolsBesideAContextThatWasNotMeasuredAreNotClaimed) {
  Program program;
  program.FreeIntoPool(program.AllocateInPool(kGiB));
  program.Refuse(kProgram, 0x10, 7 * kGiB + kGiB / 2);
  const report::Report report = program.Report();
  EXPECT_EQ(report.device().other(), 0);
  EXPECT_EQ(report.device().context(), kGiB);
  EXPECT_THAT(report.evidence(), Not(Contains(HasSubstr("even with everything else"))));
}

TEST(DeviceProgram, APlaceIsNeverMoreThanTheProcess) {
  Program program;
  program.Allocate(kProgram, 0x10, kGiB);
  program.Refuse(kProgram, 0x20, 9 * kGiB);
  program.timeline().out_of_memory.back().device_free = 8 * kGiB - 100 * kMiB;
  const report::Report report = program.Report();
  ASSERT_EQ(report.owners_size(), 1);
  EXPECT_LE(report.owners(0).bytes(), report.device().other());
}

TEST(DeviceProgram, RefusalsThatAreSurvivedAreToldFirst) {
  Program program;
  for (int i = 0; i < 5; ++i) {
    program.Refuse(kProgram, 0x20, 40 * kGiB);
    program.timeline().out_of_memory.back().fatal = false;
  }
  program.Allocate(kProgram, 0x10, kMiB);
  program.End(0);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "healthy");
  EXPECT_THAT(report.summary(), HasSubstr("refused 5 requests, the last of 40.00 GiB at solver+0x20"));
  EXPECT_THAT(report.summary(), HasSubstr("ended with status 0"));
}

TEST(DeviceProgram, ManagedAndPinnedMemoryIsToldBesideTheTable) {
  Program program;
  for (const MemoryKind kind : {MemoryKind::kManaged, MemoryKind::kHost}) {
    DeviceAllocation& beside = program.timeline().device_allocations[program.Allocate(kProgram, 0x20, kGiB)];
    beside.kind = kind;
    beside.on_device = false;
  }
  program.Allocate(kProgram, 0x10, kMiB);
  program.End(0);
  const report::Report report = program.Report();
  EXPECT_THAT(report.evidence(), Contains(HasSubstr("1.00 GiB of managed memory")));
  EXPECT_THAT(report.evidence(), Contains(HasSubstr("1.00 GiB of pinned memory")));
}

TEST(DeviceProgram, JaxDiesOfItsOwnLimitAndTheDeviceRefusedNothing) {
  Program program;
  program.Allocate(kXla, 0x10, 6 * kGiB);
  program.End(1);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "healthy");
  EXPECT_LE(report.confidence(), 0.6);
  EXPECT_THAT(report.evidence(), Contains(HasSubstr("75 % of the card, made by xla_cuda_plugin.so")));
  EXPECT_THAT(report.unknown(), Contains(HasSubstr("6.00 GiB that JAX's pool holds is in use")));
  ASSERT_EQ(report.fixes_size(), 1);
  EXPECT_EQ(report.fixes(0).id(), "xla_pool_fraction");
}

TEST(DeviceProgram, JaxWithoutAPoolIsReadAsItIs) {
  Program program;
  program.timeline().process.environment = {"XLA_PYTHON_CLIENT_ALLOCATOR=platform"};
  for (int i = 0; i < 100; ++i) program.Allocate(kXla, 0x10, 80 * kMiB);
  program.Refuse(kXla, 0x10, 512 * kMiB);
  const report::Report report = program.Report();
  EXPECT_EQ(report.pattern(), "gradual_leak");
  EXPECT_THAT(report.unknown(), Not(Contains(HasSubstr("pool"))));
}

TEST(DeviceProgram, CupysPoolIsCountedAsOneWhateverAskedForItsBlocks) {
  Program program;
  program.Allocate(kCupy, 0x10, kGiB);
  program.Allocate(kCupy, 0x20, kGiB);
  program.Refuse(kProgram, 0x10, 7 * kGiB);
  const report::Report report = program.Report();
  EXPECT_THAT(report.unknown(), Contains(HasSubstr("2.00 GiB that CuPy's pool holds")));
  bool frees_blocks = false;
  for (const report::Fix& fix : report.fixes()) frees_blocks |= fix.id() == "cupy_free_blocks";
  EXPECT_TRUE(frees_blocks);
}

}  // namespace
}  // namespace oomtrace
