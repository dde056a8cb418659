// How fast a trace is read, and built into a timeline's input: one million events of two threads.
#include <benchmark/benchmark.h>

#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/read/trace_reader.h"

namespace oomtrace {
namespace {

constexpr int kEvents = 1'000'000;

const std::string& Trace() {
  static const std::string* const kTrace = [] {
    testing::TraceBuilder builder;
    const testing::Tag tag{builder.Stack({{"train.py", "main", 1}}), builder.Layout({8, 1024}, testing::kFloat32),
                           builder.Context({})};
    // Two threads take turns every hundred events, as the forward's and the engine's do; blocks live for fifty.
    for (int i = 0; i < kEvents; ++i) {
      builder.Thread(1 + (i / 100) % 2);
      const uint64_t block = 0x7f2000000000 + static_cast<uint64_t>(i % 100 % 50) * 32768;
      if (i % 100 < 50) {
        builder.Alloc(block, 32768, tag);
      } else {
        builder.Free(block);
      }
    }
    return new std::string(builder.Finish(/*seal_all=*/true));
  }();
  return *kTrace;
}

void BM_Open(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(TraceReader::FromBytes(Trace(), "t"));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(Trace().size()));
}
BENCHMARK(BM_Open)->Unit(benchmark::kMillisecond);

void BM_ReadEvents(benchmark::State& state) {
  auto reader = TraceReader::FromBytes(Trace(), "t");
  EventSink sink;
  int64_t events = 0;
  for (auto _ : state) events += (*reader)->ReadEvents(&sink);
  state.SetItemsProcessed(events);
  state.counters["bytes_per_event"] = static_cast<double>(Trace().size()) / kEvents;
}
BENCHMARK(BM_ReadEvents)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace oomtrace

BENCHMARK_MAIN();
