#include "tests/fuzz/consume.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/match.h"
#include "analyzer/attribute/attribute.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace::fuzz {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

bool OneLine(std::string_view text) { return text.find('\n') == std::string_view::npos; }

void CheckIndices(const Timeline& timeline) {
  for (const Tensor& tensor : timeline.tensors) {
    Require(tensor.stack < timeline.stacks.size(), "tensor.stack");
    Require(tensor.layout < timeline.layouts.size(), "tensor.layout");
    Require(tensor.node < timeline.strings.size(), "tensor.node");
    Require(tensor.born <= tensor.died, "a tensor dies after its birth");
    Require(tensor.step >= 0 && tensor.step <= static_cast<int64_t>(timeline.steps.size()), "tensor.step");
    Require(tensor.micro_batch >= 0, "tensor.micro_batch");
  }
  for (const Stack& stack : timeline.stacks) {
    for (const uint32_t frame : stack.frames) Require(frame < timeline.frames.size(), "stack.frames");
  }
  for (const Role& role : timeline.roles) {
    Require(role.tensor < static_cast<int64_t>(timeline.tensors.size()), "role.tensor");
  }
}

void CheckOrder(const Timeline& timeline) {
  int64_t before = 0;
  for (const Tensor& tensor : timeline.tensors) {
    Require(tensor.born >= before, "tensors in order of birth");
    before = tensor.born;
  }
  before = 0;
  for (const PhaseMark& mark : timeline.phases) {
    Require(mark.time >= before, "phases in order of time");
    before = mark.time;
  }
  before = 0;
  for (const Step& step : timeline.steps) {
    Require(step.begin <= step.end && step.end >= before && step.micro_batches >= 0, "steps in order of time");
    before = step.end;
  }
}

void CheckDevice(const Timeline& timeline, int64_t time) {
  const DeviceUse use = DeviceUseAt(timeline, time);
  for (const int64_t part : {use.tensors, use.cache, use.other, use.context, use.other_processes, use.free}) {
    Require(part >= 0, "no part of the device is negative");
  }
  if (use.total == 0) return;
  Require(use.tensors + use.cache + use.other + use.context + use.other_processes + use.free == use.total,
          "the parts add up to the device");
}

}  // namespace

int64_t Consume(std::string_view bytes) {
  auto reader = TraceReader::FromBytes(bytes, "fuzzed");
  if (!reader.ok()) {
    Require(OneLine(std::string_view(reader.status().message().data(), reader.status().message().size())),
            "an error is one line");
    return -1;
  }
  Timeline timeline = BuildTimeline(reader->get());
  Attribute(&timeline);
  for (const std::string& line : timeline.damage) Require(OneLine(line), "a damage is one line");
  CheckIndices(timeline);
  CheckOrder(timeline);
  CheckDevice(timeline, MomentOfInterest(timeline));
  CheckDevice(timeline, timeline.end);
  for (uint32_t stack = 0; stack < timeline.stacks.size(); ++stack) UserFrame(timeline, stack);
  return timeline.events;
}

}  // namespace oomtrace::fuzz
