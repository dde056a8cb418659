#include "tests/fuzz/seeds.h"

#include "analyzer/read/testing/trace_builder.h"

namespace oomtrace::fuzz {
namespace {

using oomtrace::testing::Kind;
using oomtrace::testing::TraceBuilder;

constexpr uint64_t kBase = 0x7f2000000000;

void AddFacts(TraceBuilder* builder) {
  trace::Process process;
  process.set_pid(7);
  process.add_argument("train.py");
  process.add_environment("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True");
  builder->Process(process);
  builder->Module(11, 12, "_orig_mod.layer", "Linear");
  builder->Optimizer(13, "AdamW", 1024, 256);
  builder->Device(0, "NVIDIA GeForce RTX 4070", 12ull << 30);
  trace::Chunk rest;
  rest.add_hook()->set_name("cudaMalloc");
  builder->Permanent(rest);
  rest.Clear();
  rest.add_note()->set_text("a remark");
  builder->Permanent(rest);
}

// One step of training with everything that can be said of it.
void AddStep(TraceBuilder* builder, uint64_t turn) {
  const testing::Tag outside{builder->Stack({{"train.py", "main", 3}}), builder->Layout({4, 8}, testing::kInt64),
                             builder->Context({})};
  const testing::Tag inside{builder->Stack({{"model.py", "Net.forward", 9}, {"train.py", "main", 4}}, 11, 12),
                            builder->Layout({16, 16}, testing::kBFloat16), builder->Context({})};
  const testing::Tag backward{
      0, inside.layout,
      builder->Context({.grad_mode = false, .backward = true, .node = "N5torch8autograd14AccumulateGradE"})};
  const uint64_t at = kBase + (turn << 24);
  builder->Phase(trace::Phase::TRAIN_MODE, 12);
  builder->Alloc(at, 512, outside);
  builder->HostCopy(at, 256);
  builder->Alloc(at + 4096, 1024, inside);
  builder->Phase(trace::Phase::BACKWARD_BEGIN);
  builder->Thread(2).Alloc(at + 8192, 512, backward);
  builder->Thread(1).Free(at + 4096);
  builder->Phase(trace::Phase::BACKWARD_END);
  builder->Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, 13);
  builder->Alloc(at + 16384, 512, inside);
  builder->Role(trace::TensorRole::OPTIMIZER_STATE, at + 16384, 512, "layer.weight: exp_avg", 13);
  builder->Phase(trace::Phase::OPTIMIZER_STEP_END, 13);
  builder->Role(trace::TensorRole::GRADIENT, at + 8192, 512, "layer.weight", 12);
  builder->Phase(trace::Phase::EVAL_MODE, 12);
  builder->Alloc(at + 32768, 512, inside);
}

void AddDeath(TraceBuilder* builder) {
  const uint32_t library = builder->Library("/lib/libc10_cuda.so");
  builder->DeviceAlloc(kBase, 2 << 20, library, "cudaMalloc");
  builder->DeviceAlloc(kBase + (4 << 20), 1 << 20, builder->Library("/lib/libnccl.so.2"), "cudaMalloc");
  builder->DeviceFree(kBase + (4 << 20), library, "cudaFree");
  builder->MemoryInfo(1 << 20, 12ull << 30);
  trace::GpuProcesses processes;
  processes.add_entry()->set_bytes(1 << 30);
  processes.mutable_entry(0)->set_name("other");
  builder->GpuProcesses(processes);
  trace::OutOfMemory refusal;
  refusal.set_source(trace::OutOfMemory::TORCH_REPORT);
  refusal.set_bytes(1 << 30);
  refusal.set_device_total(12ull << 30);
  refusal.set_device_free(1 << 20);
  refusal.set_reserved(2 << 20);
  refusal.set_allocated(4096);
  builder->OutOfMemory(refusal);
  builder->Holder(kBase, "history[3]");
  builder->Exit(1);
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  TraceBuilder nothing;
  nothing.State(1);
  seeds.push_back(nothing.Finish());
  TraceBuilder one;
  AddFacts(&one);
  AddStep(&one, 0);
  AddDeath(&one);
  seeds.push_back(one.Finish());
  TraceBuilder many;
  many.EventsIn(Kind::kFold);
  AddStep(&many, 0);
  many.EventsIn(Kind::kEvents);
  for (uint64_t turn = 1; turn < 4; ++turn) {
    AddStep(&many, turn);
    if (turn == 2) many.Seal();
  }
  AddDeath(&many);
  seeds.push_back(many.Finish(/*seal_all=*/true));
  for (const bool sites : {true, false}) {
    TraceBuilder compact;
    compact.Compact(sites);
    AddFacts(&compact);
    for (uint64_t turn = 0; turn < 3; ++turn) AddStep(&compact, turn % 2);
    AddDeath(&compact);
    seeds.push_back(compact.Finish(/*seal_all=*/sites));
  }
  return seeds;
}

}  // namespace oomtrace::fuzz
