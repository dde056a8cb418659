#include "analyzer/timeline/timeline_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

using oomtrace::testing::TraceBuilder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kBase = 0x7f2000000000;
constexpr uint64_t kModel = 0x1000;
constexpr uint64_t kAdam = 0x2000;
constexpr int64_t kMiB = 1 << 20;

// A trace that speaks in the steps of a training loop.
class Loop : public TraceBuilder {
 public:
  Loop() {
    Module(kModel, kModel, "", "GPT");
    in_module_ = Stack({{"/home/u/model.py", "forward", 10}}, kModel, kModel);
    outside_ = Stack({{"/home/u/train.py", "main", 20}});
  }

  uint64_t Make(bool in_module, const testing::ContextSpec& context = {}, int64_t bytes = kMiB) {
    const uint64_t address = kBase + 2 * kMiB * next_++;
    Alloc(address, bytes,
          {in_module ? in_module_ : outside_, Layout({bytes / 4}, testing::kFloat32), Context(context)});
    return address;
  }
  uint64_t Forward() { return Make(true); }
  uint64_t Outside() { return Make(false); }
  void Backward(uint64_t activation) {
    Phase(trace::Phase::BACKWARD_BEGIN);
    Make(false, {.grad_mode = false, .backward = true});
    if (activation != 0) Free(activation);
    Phase(trace::Phase::BACKWARD_END);
  }
  void Optimizer(uint64_t identity = kAdam) {
    Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, identity);
    Phase(trace::Phase::OPTIMIZER_STEP_END, identity);
  }
  void Refuse(bool in_module, const testing::ContextSpec& context = {}) {
    trace::OutOfMemory event;
    event.set_source(trace::OutOfMemory::TORCH_REPORT);
    event.set_bytes(1 << 30);
    event.set_stack(in_module ? in_module_ : outside_);
    event.set_context(Context(context));
    event.set_device_total(12ll << 30);
    event.set_device_free(kMiB);
    OutOfMemory(event);
  }

 private:
  uint32_t in_module_;
  uint32_t outside_;
  uint64_t next_ = 0;
};

Timeline Build(const TraceBuilder& builder) {
  const std::string file = builder.Finish();
  auto reader = TraceReader::FromBytes(file, "t.oomtrace");
  EXPECT_TRUE(reader.ok()) << reader.status();
  return BuildTimeline(reader->get());
}

std::vector<PhaseKind> Phases(const Timeline& timeline) {
  std::vector<PhaseKind> phases;
  for (const PhaseMark& mark : timeline.phases) phases.push_back(mark.phase);
  return phases;
}

TEST(TimelineBuilderTest, AStepRunsThroughItsPhases) {
  Loop loop;
  loop.Outside();
  for (int i = 0; i < 2; ++i) {
    loop.Backward(loop.Forward());
    loop.Optimizer();
  }
  const Timeline timeline = Build(loop);
  EXPECT_THAT(
      Phases(timeline),
      ElementsAre(PhaseKind::kSetUp, PhaseKind::kForward, PhaseKind::kBackward, PhaseKind::kBetweenSteps,
                  PhaseKind::kOptimizerStep, PhaseKind::kBetweenSteps, PhaseKind::kForward, PhaseKind::kBackward,
                  PhaseKind::kBetweenSteps, PhaseKind::kOptimizerStep, PhaseKind::kBetweenSteps));
  ASSERT_THAT(timeline.tensors, SizeIs(5));
  EXPECT_EQ(timeline.tensors[0].phase, PhaseKind::kSetUp);
  EXPECT_EQ(timeline.tensors[1].phase, PhaseKind::kForward);
  EXPECT_EQ(timeline.tensors[1].died_phase, PhaseKind::kBackward);
  EXPECT_EQ(timeline.tensors[2].phase, PhaseKind::kBackward);
  EXPECT_EQ(timeline.tensors[3].step, 1);
  EXPECT_EQ(timeline.tensors[3].died_step, 1);
  EXPECT_EQ(timeline.tensors[4].died_step, -1);
  EXPECT_THAT(timeline.steps, SizeIs(2));
  EXPECT_EQ(timeline.first_training_forward, timeline.tensors[1].born);
}

TEST(TimelineBuilderTest, BackwardPassesBeforeTheFirstStepOfAKnownOptimizerAreNoSteps) {
  for (const bool known : {false, true}) {
    Loop loop;
    if (known) loop.TraceBuilder::Optimizer(kAdam, "Adam", kMiB, kMiB / 4);
    loop.Backward(loop.Forward());
    loop.Forward();
    loop.Refuse(true);
    const Timeline timeline = Build(loop);
    EXPECT_THAT(timeline.steps, SizeIs(known ? 0 : 1));
    EXPECT_EQ(timeline.out_of_memory.back().micro_batch, known ? 1 : 0);
  }
}

TEST(TimelineBuilderTest, MicroBatchesCountBackwards) {
  Loop loop;
  for (int step = 0; step < 2; ++step) {
    for (int micro = 0; micro < 3; ++micro) loop.Backward(loop.Forward());
    loop.Optimizer();
  }
  loop.Backward(loop.Forward());
  loop.Forward();
  const Timeline timeline = Build(loop);
  ASSERT_THAT(timeline.steps, SizeIs(2));
  EXPECT_EQ(timeline.steps[0].micro_batches, 3);
  EXPECT_EQ(timeline.steps[1].micro_batches, 3);
  std::vector<int64_t> micro;
  for (const Tensor& tensor : timeline.tensors) {
    if (tensor.phase == PhaseKind::kForward) micro.push_back(tensor.step * 10 + tensor.micro_batch);
  }
  EXPECT_THAT(micro, ElementsAre(0, 1, 2, 10, 11, 12, 20, 21));
}

TEST(TimelineBuilderTest, PeakAndLiveBytesOfAStep) {
  Loop loop;
  const uint64_t weight = loop.Outside();
  const uint64_t activation = loop.Forward();
  loop.Backward(activation);
  loop.Optimizer();
  const Timeline timeline = Build(loop);
  ASSERT_THAT(timeline.steps, SizeIs(1));
  EXPECT_EQ(timeline.steps[0].peak, 3 * kMiB);
  EXPECT_EQ(timeline.steps[0].live_at_end, 2 * kMiB);
  EXPECT_NE(weight, activation);
}

TEST(TimelineBuilderTest, OptimizersThatStepTogetherMakeOneStep) {
  Loop loop;
  for (int i = 0; i < 3; ++i) {
    loop.Backward(loop.Forward());
    loop.Optimizer(1);
    loop.Optimizer(2);
  }
  EXPECT_THAT(Build(loop).steps, SizeIs(3));
}

TEST(TimelineBuilderTest, TheTwoOptimizersOfAGanMakeOneStepATurn) {
  Loop loop;
  for (int i = 0; i < 4; ++i) {
    loop.Backward(loop.Forward());
    loop.Optimizer(1);
    loop.Backward(loop.Forward());
    loop.Optimizer(2);
  }
  const Timeline timeline = Build(loop);
  ASSERT_THAT(timeline.steps, SizeIs(4));
  for (const Step& step : timeline.steps) EXPECT_EQ(step.micro_batches, 2);
}

TEST(TimelineBuilderTest, ANewOptimizerInALaterStageCountsAsWell) {
  Loop loop;
  for (uint64_t optimizer = 1; optimizer <= 2; ++optimizer) {
    for (int i = 0; i < 5; ++i) {
      loop.Backward(loop.Forward());
      loop.Optimizer(optimizer);
    }
  }
  EXPECT_THAT(Build(loop).steps, SizeIs(10));
}

TEST(TimelineBuilderTest, WithoutAnOptimizerEachBackwardIsAStep) {
  Loop loop;
  for (int i = 0; i < 3; ++i) loop.Backward(loop.Forward());
  EXPECT_THAT(Build(loop).steps, SizeIs(3));
}

TEST(TimelineBuilderTest, AStepThatDidNotEndIsNotOne) {
  Loop loop;
  loop.Backward(loop.Forward());
  loop.Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, kAdam);
  const uint64_t state = loop.Outside();
  loop.Refuse(false, {.grad_mode = false});
  loop.Free(state);
  const Timeline timeline = Build(loop);
  EXPECT_THAT(timeline.steps, IsEmpty());
  ASSERT_THAT(timeline.out_of_memory, SizeIs(1));
  EXPECT_EQ(timeline.out_of_memory[0].phase, PhaseKind::kOptimizerStep);
  EXPECT_EQ(timeline.out_of_memory[0].micro_batch, 1);
}

TEST(TimelineBuilderTest, EvaluationByModeAndByGradients) {
  Loop loop;
  loop.Backward(loop.Forward());
  loop.Optimizer();
  loop.Make(true, {.grad_mode = false});  // 2: no_grad, in training mode
  loop.Phase(trace::Phase::EVAL_MODE, kModel);
  loop.Make(true, {.grad_mode = true});   // 3: eval(), gradients on
  loop.Make(false, {.grad_mode = true});  // 4: its loss
  loop.Phase(trace::Phase::TRAIN_MODE, kModel);
  loop.Outside();  // 5
  loop.Forward();  // 6
  const Timeline timeline = Build(loop);
  ASSERT_THAT(timeline.tensors, SizeIs(7));
  EXPECT_EQ(timeline.tensors[2].phase, PhaseKind::kEvaluation);
  EXPECT_EQ(timeline.tensors[3].phase, PhaseKind::kEvaluation);
  EXPECT_EQ(timeline.tensors[4].phase, PhaseKind::kEvaluation);
  EXPECT_EQ(timeline.tensors[5].phase, PhaseKind::kBetweenSteps);
  EXPECT_EQ(timeline.tensors[6].phase, PhaseKind::kForward);
}

TEST(TimelineBuilderTest, WhatALoopDoesBetweenBatchesIsPartOfItsEvaluation) {
  Loop loop;
  loop.Backward(loop.Forward());
  loop.Optimizer();
  loop.Phase(trace::Phase::EVAL_MODE, kModel);
  for (int batch = 0; batch < 3; ++batch) {
    loop.Make(true, {.grad_mode = false});  // 2, 4, 6
    loop.Make(false, {.grad_mode = true});  // 3, 5, 7: joins the outputs
  }
  const Timeline timeline = Build(loop);
  for (size_t i = 2; i < 8; ++i) EXPECT_EQ(timeline.tensors[i].phase, PhaseKind::kEvaluation) << i;
}

TEST(TimelineBuilderTest, WhatFollowsAFewCallsWithoutGradientsIsNoEvaluation) {
  Loop loop;
  loop.Backward(loop.Forward());
  loop.Optimizer();
  loop.Make(true, {.grad_mode = false});  // 2: two teachers
  loop.Outside();                         // 3
  loop.Make(true, {.grad_mode = false});  // 4
  loop.Outside();                         // 5
  loop.Forward();
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.tensors[3].phase, PhaseKind::kBetweenSteps);
  EXPECT_EQ(timeline.tensors[5].phase, PhaseKind::kBetweenSteps);
}

TEST(TimelineBuilderTest, AForwardInEvaluationModeThatABackwardFollowsWasTraining) {
  Loop loop;
  loop.Phase(trace::Phase::EVAL_MODE, kModel);
  loop.Outside();
  for (int i = 0; i < 2; ++i) {
    loop.Backward(loop.Forward());
    loop.Optimizer();
  }
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.tensors[1].phase, PhaseKind::kForward);
  EXPECT_EQ(timeline.tensors[3].phase, PhaseKind::kForward);
  EXPECT_EQ(timeline.first_training_forward, timeline.tensors[1].born);
  for (const PhaseMark& mark : timeline.phases) EXPECT_NE(mark.phase, PhaseKind::kEvaluation);
}

TEST(TimelineBuilderTest, AnExcursionWithoutGradientsStaysInTheForward) {
  Loop loop;
  const uint64_t first = loop.Forward();
  loop.Make(true, {.grad_mode = false});
  loop.Backward(first);
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.tensors[1].phase, PhaseKind::kForward);
}

TEST(TimelineBuilderTest, AWrapperSharesTheModeOfItsModel) {
  Loop loop;
  constexpr uint64_t kWrapper = 0x3000;
  loop.Module(kModel, kWrapper, "_orig_mod", "GPT");
  loop.Module(kWrapper, kWrapper, "", "OptimizedModule");
  const uint32_t stack = loop.Stack({{"model.py", "forward", 3}}, kModel, kWrapper);
  loop.Phase(trace::Phase::EVAL_MODE, kModel);
  loop.Alloc(kBase, 512, {stack, 0, loop.Context({})});
  EXPECT_EQ(Build(loop).tensors[0].phase, PhaseKind::kEvaluation);
}

TEST(TimelineBuilderTest, FunctionalCodeHasAForwardToo) {
  Loop loop;
  loop.Outside();
  const uint64_t activation = loop.Make(false);
  loop.Backward(activation);
  loop.Optimizer();
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.tensors[0].phase, PhaseKind::kSetUp);
  EXPECT_EQ(timeline.tensors[1].phase, PhaseKind::kForward);
  EXPECT_EQ(timeline.first_training_forward, timeline.tensors[1].born);
}

TEST(TimelineBuilderTest, ACaughtRefusalIsNotFatal) {
  Loop loop;
  const uint64_t first = loop.Forward();
  loop.Refuse(true);
  loop.Free(first);
  loop.Backward(loop.Forward());
  loop.Optimizer();
  EXPECT_EQ(FatalOutOfMemory(Build(loop)), nullptr);
}

TEST(TimelineBuilderTest, TheLastRefusalIsFatalWhenOnlyUnwindingFollows) {
  Loop loop;
  loop.Refuse(true);
  const uint64_t first = loop.Forward();
  loop.Refuse(true);
  loop.Free(first);
  loop.Exit(1);
  const Timeline timeline = Build(loop);
  ASSERT_THAT(timeline.out_of_memory, SizeIs(2));
  EXPECT_FALSE(timeline.out_of_memory[0].fatal);
  EXPECT_TRUE(timeline.out_of_memory[1].fatal);
  EXPECT_EQ(timeline.exit_status, 1);
}

// Of a program without PyTorch: one thread is refused, another goes on.
Timeline RefusedInOneOfTwoThreads(bool asks_again, int status) {
  TraceBuilder builder;
  const uint32_t program = builder.Library("/home/me/solver");
  builder.Thread(1);
  builder.DeviceAlloc(kBase, kMiB, program, "cudaMalloc");
  builder.DeviceAlloc(0, 8 * kMiB, program, "cudaMalloc", 0, 2);
  trace::OutOfMemory event;
  event.set_source(trace::OutOfMemory::DEVICE_CALL);
  event.set_bytes(8 * kMiB);
  builder.OutOfMemory(event);
  if (asks_again) builder.DeviceAlloc(kBase + kMiB, kMiB, program, "cudaMalloc");
  builder.Thread(2);
  builder.DeviceAlloc(kBase + 2 * kMiB, kMiB, program, "cudaMalloc");
  builder.Exit(status);
  return Build(builder);
}

TEST(TimelineBuilderTest, ARefusalIsFatalToAProgramThatEndsBadlyIfItsThreadAllocatesNoMore) {
  EXPECT_NE(FatalOutOfMemory(RefusedInOneOfTwoThreads(false, 7)), nullptr);
  EXPECT_EQ(FatalOutOfMemory(RefusedInOneOfTwoThreads(true, 7)), nullptr);
  EXPECT_EQ(FatalOutOfMemory(RefusedInOneOfTwoThreads(false, 0)), nullptr);
}

TEST(TimelineBuilderTest, HostCopiesAndRolesFindTheBlockTheyAreIn) {
  Loop loop;
  const uint64_t a = loop.Outside();
  const uint64_t b = loop.Outside();
  loop.HostCopy(a + 512, 100);
  loop.Role(trace::TensorRole::PARAMETER, b, kMiB, "w", kModel);
  loop.Free(b);
  loop.Role(trace::TensorRole::GRADIENT, b, kMiB, "w", kModel);
  const Timeline timeline = Build(loop);
  EXPECT_TRUE(timeline.tensors[0].host_copied);
  EXPECT_FALSE(timeline.tensors[1].host_copied);
  ASSERT_THAT(timeline.roles, SizeIs(2));
  EXPECT_EQ(timeline.roles[0].tensor, 1);
  EXPECT_EQ(timeline.roles[1].tensor, -1) << "said after the free";
}

TEST(TimelineBuilderTest, LostFreesAreSeenAndCounted) {
  Loop loop;
  const uint64_t address = loop.Outside();
  loop.Alloc(address + 512, 1024, {});  // the free of the block before it was lost
  loop.Free(0x7f0000000000);
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.replaced_tensors, 1);
  EXPECT_EQ(timeline.unknown_frees, 1);
  EXPECT_EQ(TensorBytes(timeline, 0, timeline.end), 1024);
}

TEST(TimelineBuilderTest, TheReportIsAboutTheDeviceThatRanOut) {
  Loop loop;
  loop.Alloc(kBase, 8 * kMiB, {}, 0);
  loop.Alloc(kBase + (1ull << 32), kMiB, {}, 1);
  EXPECT_EQ(Build(loop).device, 0) << "the fullest";
  trace::OutOfMemory event;
  event.set_device(1);
  event.set_device_total(100);
  loop.OutOfMemory(event);
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.device, 1);
  EXPECT_EQ(timeline.device_total, 100);
}

TEST(TimelineBuilderTest, WithoutACachingAllocatorItsDeviceCallsAreTheTensors) {
  TraceBuilder builder;
  const uint32_t torch = builder.Library("/v/torch/lib/libc10_cuda.so");
  builder.DeviceAlloc(kBase, kMiB, torch, "cudaMallocAsync");
  builder.DeviceAlloc(kBase + kMiB, kMiB, builder.Library("/v/lib/libnccl.so.2"), "cudaMalloc");
  builder.Role(trace::TensorRole::PARAMETER, kBase, kMiB, "w", kModel);
  const Timeline alive = Build(builder);
  ASSERT_THAT(alive.tensors, SizeIs(1));
  EXPECT_EQ(alive.roles[0].tensor, 0);
  const DeviceUse use = DeviceUseAt(alive, alive.end);
  EXPECT_EQ(use.tensors, kMiB);
  EXPECT_EQ(use.cache, 0);
  EXPECT_EQ(use.other, kMiB) << "NCCL's";
  builder.DeviceFree(kBase, torch, "cudaFreeAsync");
  const Timeline timeline = Build(builder);
  EXPECT_EQ(TensorBytes(timeline, 0, timeline.end), 0);
}

TEST(TimelineBuilderTest, NodesAreDemangled) {
  Loop loop;
  loop.Alloc(kBase, 512, {0, 0, loop.Context({.backward = true, .node = "N5torch8autograd9generated11MmBackward0E"})});
  const Timeline timeline = Build(loop);
  EXPECT_EQ(timeline.strings[timeline.tensors[0].node], "MmBackward0");
}

}  // namespace
}  // namespace oomtrace
