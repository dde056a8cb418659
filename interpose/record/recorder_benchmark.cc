// What an event costs inside the recorder, to find what became slower. The figures that count, through the exported
// hook and with a Python stack of 20 frames, are bench/event_cost.py's.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "interpose/record/clock.h"
#include "interpose/record/crc32c.h"
#include "interpose/record/events.h"

namespace oomtrace {
namespace {

// A process has one recorder: it is started once, into a directory that goes away with the process.
void StartRecorder() {
  static const bool started = [] {
    static const std::string directory =
        (std::filesystem::temp_directory_path() / ("recorder_benchmark." + std::to_string(getpid()))).string();
    std::filesystem::create_directory(directory);
    setenv("OOMTRACE_DIR", directory.c_str(), 1);
    setenv("OOMTRACE_BUDGET", "64MiB", 1);
    Recorder::Initialize();
    atexit([] { std::filesystem::remove_all(directory); });
    return true;
  }();
  benchmark::DoNotOptimize(started);
}

// As PyTorch makes them: a handful of sizes, addresses all over a segment, every allocation freed a little later.
void BM_TensorAllocAndFree(benchmark::State& state) {
  StartRecorder();
  uint64_t number = 0;
  Attribution attribution;
  attribution.site = 900;
  for (auto _ : state) {
    const uint64_t address = 0x7f0000000000 + (number * 7919 % 4096) * 512 * 16;
    const uint64_t bytes = 512u << (number % 12);
    {
      Entry entry(Cause::kMemory);
      RecordTensorAlloc(entry.thread(), address, bytes, 0, 4u << 30, attribution);
    }
    {
      Entry entry(Cause::kMemory);
      RecordTensorFree(entry.thread(), address, 0, 4u << 30);
    }
    ++number;
  }
  state.SetItemsProcessed(static_cast<int64_t>(2 * state.iterations()));
}
BENCHMARK(BM_TensorAllocAndFree);

void BM_KnownLayout(benchmark::State& state) {
  StartRecorder();
  Entry entry(Cause::kMemory);
  const int64_t sizes[] = {8, 1024, 768};
  for (auto _ : state) benchmark::DoNotOptimize(entry.recorder().facts().Layout({sizes, nullptr, 3, 15}));
}
BENCHMARK(BM_KnownLayout);

void BM_Ticks(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Ticks());
}
BENCHMARK(BM_Ticks);

void BM_SealedChunk(benchmark::State& state) {
  const std::string chunk(kChunkPayload, 'x');
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(chunk.data(), chunk.size()));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kChunkPayload));
}
BENCHMARK(BM_SealedChunk);

}  // namespace
}  // namespace oomtrace

BENCHMARK_MAIN();
