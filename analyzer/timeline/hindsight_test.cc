#include "analyzer/timeline/hindsight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {
namespace {

using oomtrace::testing::TraceBuilder;

constexpr uint64_t kBase = 0x7f2000000000;
constexpr uint64_t kTeacher = 0x1000, kStudent = 0x2000, kAdam = 0x3000;
constexpr int64_t kMiB = 1 << 20;

// A teacher and a student of one weight each, and an optimizer that has the student's.
class Distillation : public TraceBuilder {
 public:
  Distillation() {
    Module(kTeacher, kTeacher, "", "Net");
    Module(kStudent, kStudent, "", "Net");
    Optimizer(kAdam, "Adam", kMiB, kMiB / 4);
    const uint32_t setup = Stack({{"/home/u/train.py", "main", 10}});
    teacher_weight_ = Make(setup, {});
    student_weight_ = Make(setup, {});
  }
  uint64_t Make(uint32_t stack, const testing::ContextSpec& context) {
    const uint64_t address = kBase + 2 * kMiB * next_++;
    Alloc(address, kMiB, {stack, Layout({kMiB / 4}, testing::kFloat32), Context(context)});
    return address;
  }
  // A call of a network from a line of the training script.
  uint32_t Call(uint64_t network, uint32_t line) {
    return Stack({{"/lib/torch/nn/linear.py", "forward", 1}, {"/home/u/train.py", "main", line}}, network, network);
  }
  void Die(uint32_t stack) {
    trace::OutOfMemory event;
    event.set_source(trace::OutOfMemory::TORCH_REPORT);
    event.set_bytes(1 << 30);
    event.set_stack(stack);
    event.set_context(Context({}));
    event.set_device_total(12ll << 30);
    OutOfMemory(event);
    Role(trace::TensorRole::PARAMETER, teacher_weight_, kMiB, "weight", kTeacher);
    Role(trace::TensorRole::PARAMETER, student_weight_, kMiB, "weight", kStudent);
    Role(trace::TensorRole::PARAMETER, student_weight_, kMiB, "weight", kAdam);
  }
  void Backward() {
    Phase(trace::Phase::BACKWARD_BEGIN);
    Phase(trace::Phase::BACKWARD_END);
  }
  Timeline Build() const {
    const std::string file = Finish();
    auto reader = TraceReader::FromBytes(file, "t.oomtrace");
    EXPECT_TRUE(reader.ok()) << reader.status();
    return BuildTimeline(reader->get());
  }

 private:
  uint64_t next_ = 0, teacher_weight_ = 0, student_weight_ = 0;
};

PhaseKind PhaseOfDeath(const Distillation& run) { return run.Build().out_of_memory.back().phase; }

TEST(RelabelForwardInEvaluationMode, ATeacherWithGradientsIsPartOfTheTrainingForward) {
  Distillation run;
  run.Phase(trace::Phase::EVAL_MODE, kTeacher);
  run.Make(run.Call(kTeacher, 20), {});
  run.Die(run.Call(kTeacher, 20));
  const Timeline t = run.Build();
  EXPECT_EQ(t.out_of_memory.back().phase, PhaseKind::kForward);
  EXPECT_EQ(t.tensors.back().phase, PhaseKind::kForward);
  EXPECT_EQ(t.first_training_forward, t.tensors.back().born);
}

TEST(RelabelForwardInEvaluationMode, WithoutGradientsOrBatchAfterBatchItIsAnEvaluation) {
  Distillation without;
  without.Phase(trace::Phase::EVAL_MODE, kTeacher);
  without.Make(without.Call(kTeacher, 20), {.grad_mode = false});
  trace::OutOfMemory event;
  event.set_source(trace::OutOfMemory::TORCH_REPORT);
  event.set_bytes(1 << 30);
  event.set_stack(without.Call(kTeacher, 20));
  event.set_context(without.Context({.grad_mode = false}));
  without.OutOfMemory(event);
  EXPECT_EQ(PhaseOfDeath(without), PhaseKind::kEvaluation);

  Distillation features;
  features.Phase(trace::Phase::EVAL_MODE, kTeacher);
  for (int batch = 0; batch < 4; ++batch) {
    features.Make(features.Stack({{"/home/u/train.py", "main", 19}}), {});
    features.Make(features.Call(kTeacher, 20), {});
  }
  features.Die(features.Call(kTeacher, 20));
  EXPECT_EQ(PhaseOfDeath(features), PhaseKind::kEvaluation);
}

TEST(RelabelForwardInEvaluationMode, AnEvaluationRunsTheModelThatIsTrained) {
  Distillation run;
  run.Phase(trace::Phase::EVAL_MODE, kTeacher);
  run.Phase(trace::Phase::EVAL_MODE, kStudent);
  run.Make(run.Call(kStudent, 30), {});
  run.Make(run.Call(kTeacher, 31), {});
  run.Die(run.Call(kTeacher, 31));
  EXPECT_EQ(PhaseOfDeath(run), PhaseKind::kEvaluation);
}

TEST(RelabelForwardInEvaluationMode, AModelTrainedInEvaluationModeIsKnownByWhereItWasCalled) {
  for (const uint32_t line : {20u, 40u}) {
    Distillation run;
    run.Phase(trace::Phase::EVAL_MODE, kStudent);
    run.Make(run.Call(kStudent, 20), {});
    run.Backward();
    run.Make(run.Call(kStudent, line), {});
    run.Die(run.Call(kStudent, line));
    EXPECT_EQ(PhaseOfDeath(run), line == 20 ? PhaseKind::kForward : PhaseKind::kEvaluation);
  }
}

}  // namespace
}  // namespace oomtrace
