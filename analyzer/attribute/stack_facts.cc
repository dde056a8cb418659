#include "analyzer/attribute/stack_facts.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

bool InFile(const Frame& frame, const char* part) { return absl::StrContains(frame.file, part); }

bool InitialisesState(const Frame& frame) {
  // torch.optim, then bitsandbytes and DeepSpeed.
  return IsFunction(frame, "_init_group") || IsFunction(frame, "init_state") ||
         IsFunction(frame, "initialize_optimizer_states");
}

StackFacts FactsOfFrame(const Frame& frame) {
  StackFacts facts;
  facts.moves_module = InFile(frame, "torch/nn/modules/module.py") && IsFunction(frame, "_apply");
  facts.makes_parameter = (InFile(frame, "torch/nn/modules/") && IsFunction(frame, "__init__")) ||
                          (InFile(frame, "torch/nn/parameter.py") && IsFunction(frame, "__deepcopy__"));
  facts.optimizer_state = InitialisesState(frame);
  facts.optimizer_code = InFile(frame, "torch/optim/");
  facts.loads = InFile(frame, "torch/serialization.py") || InFile(frame, "safetensors/");
  facts.autograd_function = InFile(frame, "torch/autograd/function.py") && IsFunction(frame, "apply");
  facts.copies_object = IsFunction(frame, "__deepcopy__") || IsFunction(frame, "deepcopy");
  return facts;
}

void Include(const StackFacts& frame, StackFacts* stack) {
  stack->moves_module |= frame.moves_module;
  stack->makes_parameter |= frame.makes_parameter;
  stack->optimizer_state |= frame.optimizer_state;
  stack->optimizer_code |= frame.optimizer_code;
  stack->loads |= frame.loads;
  stack->autograd_function |= frame.autograd_function;
  stack->copies_object |= frame.copies_object;
}

}  // namespace

std::vector<StackFacts> FactsOfStacks(const Timeline& timeline) {
  std::vector<StackFacts> of_frame;
  of_frame.reserve(timeline.frames.size());
  for (const Frame& frame : timeline.frames) of_frame.push_back(FactsOfFrame(frame));
  absl::flat_hash_map<std::vector<uint32_t>, uint32_t> sites;
  const std::vector<bool> keeps_graph = GraphKeepingStacks(timeline);
  std::vector<StackFacts> of_stack;
  of_stack.reserve(timeline.stacks.size());
  for (const Stack& stack : timeline.stacks) {
    StackFacts facts;
    for (const uint32_t frame : stack.frames) Include(of_frame[frame], &facts);
    facts.reduces_gradients =
        !stack.frames.empty() && InFile(timeline.frames[stack.frames.front()], "torch/nn/parallel/distributed.py");
    facts.keeps_graph = facts.autograd_function || keeps_graph[of_stack.size()];
    facts.site = sites.try_emplace(stack.frames, static_cast<uint32_t>(sites.size())).first->second;
    of_stack.push_back(facts);
  }
  return of_stack;
}

}  // namespace oomtrace
