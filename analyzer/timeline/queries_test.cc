#include "analyzer/timeline/queries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Timeline WithStack(const std::vector<std::string>& files) {
  Timeline timeline;
  Stack stack;
  for (const std::string& file : files) {
    stack.frames.push_back(static_cast<uint32_t>(timeline.frames.size()));
    timeline.frames.push_back({file, "f", 1});
  }
  timeline.stacks = {{}, stack};
  return timeline;
}

std::string FileShown(const std::vector<std::string>& files) {
  const Timeline timeline = WithStack(files);
  const Frame* frame = UserFrame(timeline, 1);
  return frame == nullptr ? "" : frame->file;
}

TEST(UserFrameTest, TheInnermostOfTheUsersOwn) {
  EXPECT_EQ(FileShown({"/v/lib/python3.11/site-packages/torch/nn/functional.py", "/home/u/model.py", "train.py"}),
            "/home/u/model.py");
  EXPECT_EQ(
      FileShown({"/tmp/torchinductor_u/ab/cab.py", "<eval_with_key>.4", "/src/bin/train.py", "/usr/bin/torchrun"}),
      "/src/bin/train.py");
}

TEST(UserFrameTest, CodeFromTextIsTheUsersUnlessALibraryMadeIt) {
  const std::string torch = "/v/site-packages/torch/nn/modules/linear.py";
  EXPECT_EQ(FileShown({torch, "<string>"}), "<string>");
  EXPECT_EQ(FileShown({torch, "<ipython-input-5-0a1b>", "/src/notebook.py"}), "<ipython-input-5-0a1b>");
  EXPECT_EQ(FileShown({"<attrs generated init Config>", "/src/train.py"}), "/src/train.py");
  EXPECT_EQ(FileShown({torch, "<frozen runpy>", "/src/train.py", "<frozen runpy>"}), "/src/train.py");
  Timeline timeline = WithStack({"<string>", "/src/train.py"});
  timeline.frames[0].function = "__create_fn__.<locals>.__init__";
  EXPECT_EQ(UserFrame(timeline, 1)->file, "/src/train.py");
}

TEST(SameStatementsTest, ACellThatRunsAgainIsTheSame) {
  Timeline timeline = WithStack({"<ipython-input-5-ab1>", "/src/run7.py"});
  for (const char* file : {"<ipython-input-6-ab1>", "<ipython-input-7-cd2>"}) {
    timeline.frames.push_back({file, "f", 1});
    timeline.stacks.push_back({{static_cast<uint32_t>(timeline.frames.size()) - 1, 1}, 0, 0});
  }
  timeline.frames.push_back({"/src/run8.py", "f", 1});
  timeline.stacks.push_back({{0, 4}, 0, 0});
  EXPECT_THAT(SameStatements(timeline), ElementsAre(0, 1, 1, 3, 4));
}

TEST(UserFrameTest, ElseTheInnermostOutsideTorch) {
  EXPECT_EQ(FileShown({"/v/site-packages/torch/nn/functional.py", "/v/site-packages/transformers/trainer.py"}),
            "/v/site-packages/transformers/trainer.py");
  EXPECT_EQ(FileShown({"/v/site-packages/torch/a.py", "/v/site-packages/torch/b.py"}), "/v/site-packages/torch/a.py");
  EXPECT_EQ(FileShown({}), "");
}

TEST(InductorFileTest, IsToldByItsNameWhereverTheCacheIs) {
  const std::string key = "chapprw5iihmj25vcqk3ze7qxh2nq4aeqdm6clr3t7uy5wjobfks";
  EXPECT_TRUE(IsInductorFile("/cache/ind/ha/" + key + ".py"));
  EXPECT_TRUE(IsInductorFile("ha/" + key + ".py"));
  EXPECT_FALSE(IsInductorFile("/cache/ind/hb/" + key + ".py"));
  EXPECT_FALSE(IsInductorFile("/src/ha/chapter_of_a_module_whose_name_is_long_as_a_hash_is_.py"));
  EXPECT_FALSE(IsInductorFile("/src/ha/chapter.py"));
  EXPECT_FALSE(IsInductorFile("train.py"));
  EXPECT_EQ(FileShown({"/cache/ha/" + key + ".py", "/v/site-packages/torch/_inductor/output_code.py", "/src/train.py"}),
            "/src/train.py");
}

TEST(ModulePathsTest, WrappersAreLeftOut) {
  EXPECT_EQ(WithoutWrappers("_orig_mod.transformer.h.0"), "transformer.h.0");
  EXPECT_EQ(WithoutWrappers("module._orig_mod.layer"), "layer");
  EXPECT_EQ(WithoutWrappers("encoder.module.x"), "encoder.module.x");
  EXPECT_EQ(WithoutWrappers("layers.0._fsdp_wrapped_module.mlp"), "layers.0.mlp");
  EXPECT_EQ(WithoutWrappers(""), "");
}

Tensor Living(uint64_t address, int64_t bytes, int64_t born, int64_t died) {
  Tensor tensor;
  tensor.address = address;
  tensor.bytes = bytes;
  tensor.born = born;
  tensor.died = died;
  return tensor;
}

DeviceAllocation Allocated(int64_t bytes, int64_t born, bool caching_allocator) {
  DeviceAllocation allocation;
  allocation.bytes = bytes;
  allocation.born = born;
  allocation.caching_allocator = caching_allocator;
  return allocation;
}

// 1000 bytes: 300 in tensors and 100 cached, 50 of NCCL, 200 of another process, 30 of context, 320 free.
Timeline FullDevice() {
  Timeline timeline;
  timeline.tensors = {Living(1, 300, 10, kNever), Living(2, 90, 11, 15)};
  timeline.samples = {{10, 300, 400}, {11, 390, 400}, {15, 300, 400}};
  timeline.device_allocations = {Allocated(400, 9, true), Allocated(50, 12, false)};
  timeline.memory_readings = {{9, 0, 370, 1000}, {12, 0, 320, 1000}};
  timeline.gpu_processes = {{7, 200, false, "other"}, {8, 480, true, "self"}};
  timeline.end = 20;
  return timeline;
}

int64_t Sum(const DeviceUse& use) {
  return use.tensors + use.cache + use.other + use.context + use.other_processes + use.free;
}

TEST(DeviceUseTest, AddsUpToTheTotal) {
  const DeviceUse use = DeviceUseAt(FullDevice(), 20);
  EXPECT_EQ(use.total, 1000);
  EXPECT_EQ(use.tensors, 300);
  EXPECT_EQ(use.cache, 100);
  EXPECT_EQ(use.other, 50);
  EXPECT_EQ(use.other_processes, 200);
  EXPECT_EQ(use.context, 30);
  EXPECT_EQ(use.free, 320);
  EXPECT_EQ(Sum(use), 1000);
  EXPECT_THAT(use.notes, IsEmpty());
}

TEST(DeviceUseTest, AReadingIsCarriedOverWhatWasAllocatedSince) {
  Timeline timeline = FullDevice();
  timeline.memory_readings.pop_back();
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.free, 320);
  EXPECT_EQ(Sum(use), 1000);
}

TEST(DeviceUseTest, AReadingAmidTheGrowthOfASegmentHasAllOfIt) {
  Timeline timeline = FullDevice();
  timeline.samples.push_back({30, 300, 430});
  timeline.memory_readings.push_back({22, 0, 290, 1000});  // 30 bytes created, 10 of them mapped yet
  for (int64_t born = 21; born <= 27; born += 3) {
    timeline.device_allocations.push_back(Allocated(10, born, true));
    timeline.device_allocations.back().kind = MemoryKind::kMapping;
  }
  const DeviceUse use = DeviceUseAt(timeline, 30);
  EXPECT_EQ(use.free, 290);
  EXPECT_EQ(use.cache, 130);
  EXPECT_EQ(use.context, 30);
}

TEST(DeviceUseTest, TheReadingThatFollowsIsUsedWhereNothingWasTakenInBetween) {
  Timeline timeline = FullDevice();
  timeline.device_allocations.push_back(Allocated(60, 16, false));
  timeline.memory_readings.push_back({18, 0, 250, 1000});  // the driver took 70 for the 60
  const DeviceUse use = DeviceUseAt(timeline, 17);
  EXPECT_EQ(use.free, 250);
  EXPECT_EQ(Sum(use), 1000);
}

TEST(DeviceUseTest, ARefusalBringsItsOwnNumbers) {
  Timeline timeline = FullDevice();
  OutOfMemory refusal;
  refusal.time = 14;
  refusal.allocated = 395;
  refusal.reserved = 400;
  refusal.device_free = 310;
  refusal.device_total = 1000;
  timeline.out_of_memory = {refusal};
  const DeviceUse use = DeviceUseAt(timeline, 14);
  EXPECT_EQ(use.tensors, 395);
  EXPECT_EQ(use.cache, 5);
  EXPECT_EQ(use.free, 310);
  EXPECT_EQ(Sum(use), 1000);
  EXPECT_THAT(use.notes, SizeIs(1)) << "the trace holds 390";
}

TEST(DeviceUseTest, NeverANegativeContext) {
  Timeline timeline = FullDevice();
  timeline.gpu_processes[0].bytes = 900;
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.context, 0);
  EXPECT_EQ(use.other_processes, 230);
  EXPECT_EQ(Sum(use), 1000);
  EXPECT_THAT(use.notes, SizeIs(1));
}

TEST(DeviceUseTest, AStaleReadingGivesWayToTensors) {
  Timeline timeline = FullDevice();
  timeline.tensors.push_back(Living(3, 500, 16, kNever));
  timeline.samples.push_back({16, 800, 800});
  timeline.gpu_processes.clear();
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.tensors, 800);
  EXPECT_EQ(use.other, 50);
  EXPECT_EQ(use.free, 150);
  EXPECT_EQ(use.context, 0);
  EXPECT_EQ(Sum(use), 1000);
  ASSERT_THAT(use.notes, SizeIs(1));
  EXPECT_THAT(use.notes.front(), HasSubstr("the free memory by 170"));
}

TEST(DeviceUseTest, WhereTheTraceLostTheSegmentsWhatPyTorchReservedIsTaken) {
  Timeline timeline = FullDevice();
  timeline.tensors.push_back(Living(3, 190, 16, kNever));
  timeline.samples.push_back({16, 490, 500});
  timeline.damage = {"the file ends early"};
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.tensors, 490);
  EXPECT_EQ(use.cache, 10);
  EXPECT_EQ(use.free, 220);
  EXPECT_EQ(use.context, 30) << "as it was when the device was read";
  EXPECT_EQ(Sum(use), 1000);
  EXPECT_THAT(use.notes, SizeIs(1));
}

TEST(DeviceUseTest, TensorsAreCutLastAndItIsSaid) {
  Timeline timeline = FullDevice();
  timeline.tensors.push_back(Living(3, 800, 16, kNever));
  timeline.samples.push_back({16, 1100, 1100});
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.tensors, 1000);
  EXPECT_EQ(Sum(use), 1000);
  ASSERT_THAT(use.notes, SizeIs(1));
  EXPECT_THAT(use.notes.front(), HasSubstr("the tensors by 100"));
}

TEST(DeviceUseTest, WithoutAReadingOnlyTheOwnNumbersAreKnown) {
  Timeline timeline = FullDevice();
  timeline.memory_readings.clear();
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.total, 0);
  EXPECT_EQ(use.tensors, 300);
  EXPECT_EQ(use.context, 0);
}

// cudaMemGetInfo needs a context; where that was refused, the card's size and its other processes are still known.
TEST(DeviceUseTest, OfADeviceThatRefusedTheContextItself) {
  Timeline timeline;
  timeline.devices = {{.index = 0, .name = "card", .total = 1000}};
  timeline.gpu_processes = {{.pid = 7, .bytes = 950, .self = false, .name = "other"}};
  OutOfMemory refusal;
  refusal.time = 20;
  timeline.out_of_memory.push_back(refusal);
  const DeviceUse use = DeviceUseAt(timeline, 20);
  EXPECT_EQ(use.total, 1000);
  EXPECT_EQ(use.other_processes, 950);
  EXPECT_EQ(use.free, 50);
  ASSERT_THAT(use.notes, SizeIs(1));
}

TEST(EnvironmentVariableTest, ByItsWholeName) {
  Timeline timeline;
  timeline.process.environment = {"XA=1", "A=2=3", "AB=", "A=4"};
  EXPECT_EQ(EnvironmentVariable(timeline, "A"), "2=3");
  EXPECT_EQ(EnvironmentVariable(timeline, "AB"), "");
  EXPECT_EQ(EnvironmentVariable(timeline, "X"), std::nullopt);
}

TEST(StepsTest, AStepRunsUntilItsEndIncluded) {
  Timeline timeline;
  EXPECT_EQ(StepsEndedBy(timeline, 5), 0);
  EXPECT_EQ(StepAt(timeline, 5), 0u);
  timeline.steps = {{.begin = 0, .end = 10}, {.begin = 10, .end = 20}};
  EXPECT_EQ(StepsEndedBy(timeline, 9), 0);
  EXPECT_EQ(StepsEndedBy(timeline, 10), 1);
  EXPECT_EQ(StepsEndedBy(timeline, 30), 2);
  EXPECT_EQ(StepAt(timeline, 10), 0u);
  EXPECT_EQ(StepAt(timeline, 11), 1u);
  EXPECT_EQ(StepAt(timeline, 21), 2u) << "after the last";
}

TEST(LiveTensorsTest, BornAtIncludedDiedAtExcluded) {
  const Timeline timeline = FullDevice();
  EXPECT_THAT(LiveTensors(timeline, 0, 11), ElementsAre(0u, 1u));
  EXPECT_THAT(LiveTensors(timeline, 0, 15), ElementsAre(0u));
  EXPECT_EQ(TensorBytes(timeline, 0, 9), 0);
}

}  // namespace
}  // namespace oomtrace
