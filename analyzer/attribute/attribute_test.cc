#include "analyzer/attribute/attribute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {
namespace {

using oomtrace::testing::ContextSpec;
using oomtrace::testing::FrameSpec;
using oomtrace::testing::TraceBuilder;
using Role = trace::TensorRole;

constexpr uint64_t kBase = 0x7f2000000000;
constexpr uint64_t kModel = 0x1000;
constexpr uint64_t kLayer = 0x1001;
constexpr uint64_t kAdam = 0x2000;

const FrameSpec kTrain{"/home/u/train.py", "main", 20};
const FrameSpec kForward{"/home/u/model.py", "Net.forward", 10};
const FrameSpec kApply{"/v/site-packages/torch/nn/modules/module.py", "Module._apply", 1};
const FrameSpec kInitGroup{"/v/site-packages/torch/optim/adam.py", "Adam._init_group", 2};
const FrameSpec kAdamFrame{"/v/site-packages/torch/optim/adam.py", "_multi_tensor_adam", 3};
const FrameSpec kFunction{"/v/site-packages/torch/autograd/function.py", "Function.apply", 4};

class Script : public TraceBuilder {
 public:
  Script() {
    Module(kModel, kModel, "", "Net");
    Module(kLayer, kModel, "layer.0", "Linear");
  }

  uint64_t Make(const std::vector<FrameSpec>& frames, const std::vector<int64_t>& shape,
                const ContextSpec& context = {}, int dtype = testing::kFloat32, uint64_t module = 0) {
    const uint64_t address = kBase + (next_++ << 24);
    int64_t bytes = dtype == testing::kInt64 ? 8 : 4;
    for (const int64_t size : shape) bytes *= size;
    const uint32_t layout = shape.empty() ? 0 : Layout(shape, dtype);
    Alloc(address, bytes, {Stack(frames, module, module == 0 ? 0 : kModel), layout, Context(context)});
    return address;
  }
  uint64_t Parameter(const std::vector<int64_t>& shape) {
    const uint64_t address = Make({kApply, kTrain}, shape);
    HostCopy(address, 1);
    return address;
  }
  uint64_t Activation(const std::vector<int64_t>& shape = {8, 1024}) {
    return Make({kForward, kTrain}, shape, {}, testing::kFloat32, kLayer);
  }
  uint64_t InBackward(const std::vector<int64_t>& shape, const char* node = "MmBackward0", bool grad_mode = false) {
    return Make({}, shape, {.grad_mode = grad_mode, .backward = true, .node = node});
  }
  void Begin() { Phase(trace::Phase::BACKWARD_BEGIN); }
  void End() { Phase(trace::Phase::BACKWARD_END); }
  void OptimizerBegins() { Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, kAdam); }
  void OptimizerEnds() { Phase(trace::Phase::OPTIMIZER_STEP_END, kAdam); }
  void Refuse() {
    trace::OutOfMemory event;
    event.set_source(trace::OutOfMemory::TORCH_REPORT);
    event.set_bytes(1 << 30);
    OutOfMemory(event);
  }

  // The timeline, attributed; tensors are found by address.
  Script& Attributed() {
    const std::string file = Finish();
    auto reader = TraceReader::FromBytes(file, "t.oomtrace");
    EXPECT_TRUE(reader.ok()) << reader.status();
    timeline_ = BuildTimeline(reader->get());
    Attribute(&timeline_);
    return *this;
  }
  const Tensor& At(uint64_t address) const {
    for (const Tensor& tensor : timeline_.tensors) {
      if (tensor.address == address) return tensor;
    }
    ADD_FAILURE() << "no tensor at " << address;
    return timeline_.tensors.front();
  }
  const Timeline& timeline() const { return timeline_; }
  std::string Of(uint64_t address) const { return CategoryName(At(address).category); }

 private:
  uint64_t next_ = 0;
  Timeline timeline_;
};

TEST(AttributeTest, RolesAreExact) {
  Script script;
  const uint64_t weight = script.Make({kTrain}, {16, 16});
  const uint64_t other = script.Make({kTrain}, {16, 16});
  script.Role(Role::PARAMETER, weight, 1024, "_orig_mod.layer.0.weight", kModel);
  script.Role(Role::GRADIENT, weight, 1024, "layer.0.weight", kModel);
  script.Role(Role::PARAMETER, other, 1 << 20, "stale", kModel);
  script.Attributed();
  EXPECT_EQ(script.Of(weight), "parameter");
  EXPECT_EQ(script.At(weight).name, "layer.0.weight");
  EXPECT_EQ(script.At(weight).module, "layer.0");
  EXPECT_EQ(script.Of(other), "unknown") << "a storage larger than its block was another tensor's";
}

TEST(AttributeTest, AModuleThatIsBeingMovedHasParametersBeforeItCanSaySo) {
  Script script;
  const uint64_t weight = script.Parameter({16, 16});
  script.Refuse();
  script.Attributed();
  EXPECT_EQ(script.Of(weight), "parameter");
}

TEST(AttributeTest, ATrainingStep) {
  Script script;
  const uint64_t weight = script.Parameter({16, 32});
  const uint64_t input = script.Make({kTrain}, {8, 16}, {}, testing::kInt64);
  script.HostCopy(input, 8);
  const uint64_t kept = script.Activation();
  const uint64_t scratch = script.Activation({4, 4});
  script.Free(scratch);
  const uint64_t workspace = script.Make({kForward, kTrain}, {}, {}, testing::kFloat32, kLayer);
  script.Begin();
  const uint64_t gradient = script.InBackward({16, 32});
  const uint64_t transposed = script.InBackward({32, 16});
  const uint64_t accumulated = script.InBackward({16, 32}, "N5torch8autograd14AccumulateGradE");
  const uint64_t flowing = script.InBackward({8, 1024});
  const uint64_t recomputed = script.InBackward({8, 99}, "CheckpointFunctionBackward", true);
  script.Free(kept);
  script.Free(flowing);
  script.Free(recomputed);
  script.End();
  script.OptimizerBegins();
  const uint64_t state = script.Make({kInitGroup, kTrain}, {16, 32}, {.grad_mode = false});
  const uint64_t foreach = script.Make({kAdamFrame, kTrain}, {16, 32}, {.grad_mode = false});
  script.Free(foreach);
  const uint64_t hand_made = script.Make({kTrain}, {16, 32}, {.grad_mode = false});
  script.OptimizerEnds();
  script.Free(input);
  script.Attributed();
  EXPECT_EQ(script.Of(weight), "parameter");
  EXPECT_EQ(script.Of(input), "input");
  EXPECT_EQ(script.Of(kept), "activation");
  EXPECT_EQ(script.At(kept).module, "layer.0");
  EXPECT_EQ(script.Of(scratch), "temporary");
  EXPECT_EQ(script.Of(workspace), "workspace");
  EXPECT_EQ(script.Of(gradient), "gradient");
  EXPECT_EQ(script.Of(transposed), "gradient");
  EXPECT_EQ(script.Of(accumulated), "gradient");
  EXPECT_EQ(script.Of(flowing), "temporary");
  EXPECT_EQ(script.Of(recomputed), "activation");
  EXPECT_EQ(script.Of(state), "optimizer_state");
  EXPECT_EQ(script.Of(foreach), "temporary");
  EXPECT_EQ(script.Of(hand_made), "optimizer_state") << "it survived the step";
}

TEST(AttributeTest, WhatLivedWhenItDiedIsJudgedByItsLikeInOtherLayers) {
  Script script;
  for (int layer = 0; layer < 3; ++layer) {
    script.Activation({8, 1024});
    script.Free(script.Activation({8, 4096}));
  }
  const uint64_t kept = script.Activation({8, 1024});
  const uint64_t scratch = script.Activation({8, 4096});
  const uint64_t new_here =
      script.Make({kFunction, kForward, kTrain}, {5}, {.grad_mode = false}, testing::kFloat32, kLayer);
  script.Refuse();
  script.Free(kept);  // the exception unwinds: this says nothing
  script.Free(scratch);
  script.Free(new_here);
  script.Attributed();
  EXPECT_EQ(script.Of(kept), "activation");
  EXPECT_EQ(script.Of(scratch), "temporary");
  EXPECT_EQ(script.Of(new_here), "activation") << "an autograd function saves for its backward";
}

TEST(AttributeTest, ADeathInTheBackward) {
  Script script;
  script.Parameter({16, 32});
  const uint64_t kept = script.Activation();
  script.Begin();
  const uint64_t gradient = script.InBackward({16, 32});
  const uint64_t flowing = script.InBackward({8, 1024});
  script.Refuse();
  script.Attributed();
  EXPECT_EQ(script.Of(kept), "activation");
  EXPECT_EQ(script.Of(gradient), "gradient");
  EXPECT_EQ(script.Of(flowing), "temporary");
}

TEST(AttributeTest, AGradientThatHasNotArrivedIsNoneWhereOwnersSpoke) {
  Script script;
  const uint64_t weight = script.Parameter({16, 32});
  script.Begin();
  const uint64_t arrived = script.InBackward({16, 32});
  const uint64_t on_its_way = script.InBackward({16, 32});
  script.Refuse();
  script.Role(Role::PARAMETER, weight, 2048, "layer.0.weight", kModel);
  script.Role(Role::GRADIENT, arrived, 2048, "layer.0.weight", kAdam);
  script.Attributed();
  EXPECT_EQ(script.Of(arrived), "gradient");
  EXPECT_EQ(script.Of(on_its_way), "temporary");
}

TEST(AttributeTest, WhatAGraphIsKnownToKeepIsAnActivationWhateverItsLikeWere) {
  Script script;
  for (int i = 0; i < 3; ++i) script.Free(script.Activation({8, 4096}));
  const uint64_t kept = script.Activation({8, 4096});
  const uint64_t held = script.Activation({8, 4096});
  script.Refuse();
  script.Holder(kept, "graph of loss (a scalar; local of main(), train.py:20)");
  script.Holder(held, "hidden (local of main(), train.py:20)");
  script.Attributed();
  EXPECT_EQ(script.Of(kept), "activation");
  EXPECT_EQ(script.Of(held), "temporary");
}

// A model of two layers, which an optimizer trains.
struct Trained {
  explicit Trained(Script* script) {
    script->Optimizer(kAdam, "Adam", 10240, 2560);
    for (const uint64_t weight : {script->Parameter({16, 32}), script->Parameter({32, 64})}) {
      weights.push_back(weight);
      script->Role(Role::PARAMETER, weight, 2048, "weight", kModel);
      script->Role(Role::PARAMETER, weight, 2048, "weight", kAdam);
    }
  }
  std::vector<uint64_t> weights;
};

TEST(AttributeTest, AModelThatNobodyTrainsIsASecondCopyOfOneWithTheSameShapes) {
  constexpr uint64_t kAverage = 0x3000, kOther = 0x4000;
  Script script;
  const Trained trained(&script);
  const uint64_t first = script.Make({kTrain}, {16, 32});
  const uint64_t second = script.Make({kTrain}, {32, 64});
  const uint64_t other = script.Make({kTrain}, {16, 32});
  script.Role(Role::PARAMETER, first, 2048, "module.a", kAverage);
  script.Role(Role::PARAMETER, second, 8192, "module.b", kAverage);
  script.Role(Role::PARAMETER, other, 2048, "frozen", kOther);
  script.Attributed();
  EXPECT_EQ(script.Of(trained.weights[0]), "parameter");
  EXPECT_EQ(script.Of(first), "second_copy");
  EXPECT_EQ(script.Of(second), "second_copy");
  EXPECT_EQ(script.Of(other), "parameter") << "another model that shares one shape";
}

TEST(AttributeTest, ClonesOfMostWeightsByOneLineAreASecondCopy) {
  const FrameSpec clone{"/home/u/train.py", "main", 5};
  const FrameSpec buffer{"/home/u/train.py", "main", 6};
  Script script;
  Trained trained(&script);
  const uint64_t first = script.Make({clone}, {16, 32});
  const uint64_t second = script.Make({clone}, {32, 64});
  const uint64_t lone = script.Make({buffer}, {16, 32});
  script.Attributed();
  EXPECT_EQ(script.Of(first), "second_copy");
  EXPECT_EQ(script.Of(second), "second_copy");
  EXPECT_EQ(script.Of(lone), "unknown");
}

TEST(AttributeTest, WhatGrowsFromCallToCallOfAModuleIsACache) {
  const FrameSpec keys{"/home/u/model.py", "Attention.forward", 30};
  const FrameSpec outputs{"/home/u/model.py", "Attention.forward", 40};
  Script script;
  script.Phase(trace::Phase::EVAL_MODE, kModel);
  const auto make = [&](const FrameSpec& line, const std::vector<int64_t>& shape) {
    return script.Make({line, kTrain}, shape, {.grad_mode = false}, testing::kFloat32, kLayer);
  };
  std::vector<uint64_t> cache, piled;
  for (int length = 8; length < 12; ++length) {
    cache.push_back(make(keys, {2, length, 16}));
    if (cache.size() > 1) script.Free(cache[cache.size() - 2]);
    piled.push_back(make(outputs, {2, length, 16}));
  }
  script.Attributed();
  EXPECT_EQ(script.Of(cache.back()), "kv_cache");
  EXPECT_EQ(script.Of(piled.back()), "temporary") << "outputs that pile up are no cache";
}

TEST(AttributeTest, ACaughtRefusalDoesNotMakeActivationsTemporary) {
  Script script;
  const uint64_t lost = script.Activation();
  script.Refuse();
  script.Free(lost);
  const uint64_t kept = script.Activation();
  script.Begin();
  script.Free(kept);
  script.End();
  script.Attributed();
  EXPECT_EQ(script.Of(lost), "activation");
}

TEST(AttributeTest, Evaluation) {
  Script script;
  script.Phase(trace::Phase::EVAL_MODE, kModel);
  const uint64_t no_grad = script.Make({kForward, kTrain}, {8, 8}, {.grad_mode = false}, testing::kFloat32, kLayer);
  const uint64_t batch = script.Make({kTrain}, {8, 8}, {.grad_mode = false});
  script.HostCopy(batch, 4);
  const uint64_t graph = script.Activation();
  script.Attributed();
  EXPECT_EQ(script.Of(no_grad), "temporary");
  EXPECT_EQ(script.Of(batch), "input");
  EXPECT_EQ(script.Of(graph), "activation") << "an evaluation with gradients on keeps its graph";
}

TEST(AttributeTest, WeightsThatNobodyHoldsAreKnownByTheirGradients) {
  Script script;
  const uint64_t weight = script.Make({kTrain}, {16, 32});
  const uint64_t lone = script.Make({kTrain}, {7, 7});
  const uint64_t kept = script.Make({kTrain}, {8, 32});
  script.Begin();
  const uint64_t gradient = script.InBackward({16, 32});
  script.Free(kept);
  script.End();
  script.Attributed();
  EXPECT_EQ(script.Of(weight), "parameter");
  EXPECT_EQ(script.Of(gradient), "gradient");
  EXPECT_EQ(script.Of(kept), "activation");
  EXPECT_EQ(script.Of(lone), "unknown") << "unknown rather than wrong";
}

TEST(AttributeTest, WhatIsMadeAnewInEachStepIsDataWhateverGradientsAreAskedOfIt) {
  Script script;
  uint64_t batch = 0;
  for (int step = 0; step < 3; ++step) {
    batch = script.Make({kTrain}, {16, 32});
    script.Free(script.Activation());
    script.Begin();
    script.InBackward({16, 32});
    script.End();
    script.OptimizerBegins();
    script.OptimizerEnds();
  }
  script.Attributed();
  EXPECT_EQ(script.Of(batch), "input");
}

TEST(AttributeTest, WhatIsHeldStepsLaterIsKept) {
  Script script;
  std::vector<uint64_t> results, graphs;
  for (int step = 0; step < 6; ++step) {
    script.Free(script.Activation());
    graphs.push_back(script.Make({kForward}, {16, 64}, {.grad_mode = true}, testing::kFloat32, kLayer));
    script.Begin();
    script.End();
    script.OptimizerBegins();
    script.OptimizerEnds();
    results.push_back(script.Make({kTrain}, {16, 32}));
  }
  script.Activation();
  script.Refuse();
  for (const size_t i : {0, 2, 5}) {
    script.Holder(results[i], "history[" + std::to_string(i) + "]");
    script.Holder(graphs[i], "graph of losses[" + std::to_string(i) + "]");
  }
  script.Attributed();
  EXPECT_EQ(script.Of(results[1]), "kept");
  EXPECT_EQ(script.Of(results[5]), "kept") << "as its like, though of the last step";
  EXPECT_EQ(script.Of(graphs[1]), "activation");
}

TEST(AttributeTest, WhatALargerOneReplacesAgainAndAgainIsKept) {
  Script script;
  uint64_t bank = 0;
  for (int step = 1; step < 16; ++step) {
    script.Free(script.Activation());
    script.Begin();
    script.End();
    script.OptimizerBegins();
    script.OptimizerEnds();
    const uint64_t longer = script.Make({kTrain}, {step, 32});
    if (bank != 0) script.Free(bank);
    bank = longer;
  }
  script.Attributed();
  EXPECT_EQ(script.Of(bank), "kept");
}

TEST(AttributeTest, TheBucketsOfDistributedDataParallelHoldGradients) {
  Script script;
  const FrameSpec reducer{"/v/site-packages/torch/nn/parallel/distributed.py", "_ddp_init_helper", 1};
  const uint64_t bucket = script.Make({reducer, kTrain}, {4096});
  const uint64_t rebuilt = script.Make({reducer, kTrain}, {8192}, {}, testing::kFloat32, kModel);
  const uint64_t of_its_model = script.Make({kForward, reducer, kTrain}, {8192}, {}, testing::kFloat32, kLayer);
  script.Begin();
  script.Free(of_its_model);
  script.End();
  script.Attributed();
  EXPECT_EQ(script.Of(bucket), "gradient");
  EXPECT_EQ(script.Of(rebuilt), "gradient");
  EXPECT_EQ(script.Of(of_its_model), "activation");
}

TEST(AttributeTest, WithoutLayoutsSizesTellParametersAndNothingIsAWorkspace) {
  Script script;
  const uint64_t weight = script.Make({kTrain}, {});
  script.Role(Role::PARAMETER, weight, 4, "w", kModel);
  const uint64_t kept = script.Make({kForward, kTrain}, {}, {}, testing::kFloat32, kLayer);
  script.Begin();
  const uint64_t gradient = script.InBackward({});
  script.Free(kept);
  script.End();
  script.Attributed();
  EXPECT_EQ(script.Of(gradient), "gradient");
  EXPECT_EQ(script.Of(kept), "activation");
}

TEST(AttributeTest, WhatADifferentiableBackwardKeepsIsItsGraph) {
  Script script;
  script.Parameter({16, 32});
  script.Begin();
  const uint64_t saved = script.InBackward({9, 9}, "TanhBackward0", true);
  script.End();
  script.Begin();
  script.Free(saved);
  script.End();
  script.Attributed();
  EXPECT_EQ(script.Of(saved), "activation");
}

TEST(AttributeTest, HoldersAreNamed) {
  Script script;
  const uint64_t kept = script.Activation();
  script.Holder(kept, "Trainer.history[12]");
  script.Attributed();
  EXPECT_EQ(script.At(kept).holder, "Trainer.history[12]");
}

TEST(AttributeTest, WhatBackwardAllocatesBelongsToTheForwardThatItDifferentiates) {
  Script script;
  const uint32_t forward = script.Stack({kForward, kTrain}, kLayer, kModel);
  const FrameSpec engine{"/v/site-packages/torch/autograd/graph.py", "_engine_run_backward", 5};
  const FrameSpec recomputed{"/home/u/model.py", "Net.forward", 12};
  script.Begin();
  const ContextSpec context{.grad_mode = false, .backward = true, .node = "MulBackward0", .forward_stack = forward};
  script.Make({engine, kTrain}, {8, 1024}, context);
  script.Make({recomputed}, {8, 1024}, context);
  script.End();
  const Timeline& timeline = script.Attributed().timeline();
  const auto shown = [&](const Tensor& tensor) {
    return UserFrame(timeline, PlaceOf(timeline, tensor.stack, tensor.forward_stack))->line;
  };
  EXPECT_EQ(timeline.tensors[0].module.str(), "layer.0");
  EXPECT_EQ(shown(timeline.tensors[0]), kForward.line);
  EXPECT_EQ(timeline.tensors[1].module.str(), "layer.0");
  EXPECT_EQ(shown(timeline.tensors[1]), recomputed.line) << "Python that runs inside a node has a line of its own";
}

}  // namespace
}  // namespace oomtrace
