#include "analyzer/read/trace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "absl/strings/match.h"
#include "analyzer/read/testing/trace_builder.h"

namespace oomtrace {
namespace {

using oomtrace::testing::Kind;
using oomtrace::testing::TraceBuilder;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kBase = 0x7f2000000000;

// Writes down what it is handed.
class Recorder : public EventSink {
 public:
  void OnTensorAlloc(const TensorAllocEvent& event) override {
    Tick(event.time);
    allocs.push_back(event);
  }
  void OnTensorFree(const TensorFreeEvent& event) override {
    Tick(event.time);
    frees.push_back(event);
  }
  void OnDeviceAlloc(const DeviceAllocEvent& event) override {
    Tick(event.time);
    device_allocs.push_back(event);
  }
  void OnOutOfMemory(const OutOfMemoryEvent& event) override {
    Tick(event.time);
    ooms.push_back(event);
  }
  void OnTensorRole(const TensorRoleEvent& event) override { roles.push_back(event); }
  void OnPhase(const PhaseEvent& event) override { phases.push_back(event); }
  void OnHostCopy(const HostCopyEvent& event) override { copies.push_back(event); }
  void OnMemoryInfo(const MemoryInfoEvent& event) override { infos.push_back(event); }
  void OnGpuProcesses(int64_t time, const trace::GpuProcesses& event) override { processes.push_back(event); }
  void OnHolder(const HolderEvent& event) override { holders.push_back(event); }
  void OnDeviceFree(const DeviceFreeEvent& event) override { device_frees.push_back(event); }
  void OnExit(const ExitEvent& event) override { exits.push_back(event); }

  std::vector<int64_t> times;
  std::vector<TensorAllocEvent> allocs;
  std::vector<TensorFreeEvent> frees;
  std::vector<DeviceAllocEvent> device_allocs;
  std::vector<DeviceFreeEvent> device_frees;
  std::vector<OutOfMemoryEvent> ooms;
  std::vector<TensorRoleEvent> roles;
  std::vector<PhaseEvent> phases;
  std::vector<HostCopyEvent> copies;
  std::vector<MemoryInfoEvent> infos;
  std::vector<trace::GpuProcesses> processes;
  std::vector<HolderEvent> holders;
  std::vector<ExitEvent> exits;

 private:
  void Tick(int64_t time) { times.push_back(time); }
};

std::unique_ptr<TraceReader> MustRead(const std::string& bytes) {
  auto reader = TraceReader::FromBytes(bytes, "t.oomtrace");
  EXPECT_TRUE(reader.ok()) << reader.status();
  return reader.ok() ? *std::move(reader) : nullptr;
}

TEST(TraceReaderTest, EveryEventComesBackAsItWasWritten) {
  TraceBuilder builder;
  const uint32_t stack = builder.Stack({{"train.py", "main", 7}}, 11, 12);
  const uint32_t layout = builder.Layout({4, 1024}, testing::kBFloat16);
  const uint32_t context = builder.Context({.grad_mode = false, .backward = true, .node = "AddBackward0"});
  const uint32_t library = builder.Library("/lib/libnccl.so.2");
  builder.At(5000).Alloc(kBase, 8192, {stack, layout, context}, 1);
  builder.Free(kBase, 1);
  builder.DeviceAlloc(kBase + 0x200000, 1 << 21, library, "cudaMalloc", 1);
  builder.DeviceFree(kBase + 0x200000, library, "cudaFree", 1);
  builder.MemoryInfo(100, 200, 1);
  builder.Phase(trace::Phase::OPTIMIZER_STEP_BEGIN, 77);
  builder.HostCopy(kBase + 3, 5, 1);
  builder.Role(trace::TensorRole::GRADIENT, kBase, 8192, "w", 12, 1);
  trace::OutOfMemory oom;
  oom.set_source(trace::OutOfMemory::TORCH_REPORT);
  oom.set_bytes(1 << 30);
  oom.set_allocated(3);
  oom.set_reserved(4);
  oom.set_device_free(5);
  oom.set_device_total(6);
  builder.OutOfMemory(oom);
  trace::GpuProcesses list;
  list.set_used(9);
  list.add_entry()->set_pid(31);
  builder.GpuProcesses(list);
  builder.Holder(kBase, "Trainer.history[1]");
  builder.Exit(-9);

  const std::string file = builder.Finish();
  const auto reader = MustRead(file);
  Recorder seen;
  EXPECT_EQ(reader->ReadEvents(&seen), 12);
  EXPECT_THAT(reader->damage(), IsEmpty());
  ASSERT_EQ(seen.allocs.size(), 1u);
  EXPECT_EQ(seen.allocs[0].address, kBase);
  EXPECT_EQ(seen.allocs[0].bytes, 8192);
  EXPECT_EQ(seen.allocs[0].stack, stack);
  EXPECT_EQ(seen.allocs[0].layout, layout);
  EXPECT_EQ(seen.allocs[0].context, context);
  EXPECT_EQ(seen.allocs[0].device, 1);
  EXPECT_EQ(seen.allocs[0].reserved, 8192);
  EXPECT_EQ(seen.allocs[0].time, 5000);
  ASSERT_EQ(seen.frees.size(), 1u);
  EXPECT_EQ(seen.frees[0].address, kBase);
  EXPECT_EQ(seen.frees[0].reserved, 8192) << "stands in the chunk once, holds until it changes";
  ASSERT_EQ(seen.device_allocs.size(), 1u);
  EXPECT_EQ(seen.device_allocs[0].library, library);
  EXPECT_EQ(reader->tables().String(seen.device_allocs[0].api), "cudaMalloc");
  ASSERT_EQ(seen.device_frees.size(), 1u);
  EXPECT_EQ(seen.device_frees[0].address, kBase + 0x200000);
  ASSERT_EQ(seen.infos.size(), 1u);
  EXPECT_EQ(seen.infos[0].total, 200);
  ASSERT_EQ(seen.phases.size(), 1u);
  EXPECT_EQ(seen.phases[0].object, 77u);
  ASSERT_EQ(seen.copies.size(), 1u);
  EXPECT_EQ(seen.copies[0].address, kBase + 3) << "not the start of a block";
  ASSERT_EQ(seen.roles.size(), 1u);
  EXPECT_EQ(seen.roles[0].role, trace::TensorRole::GRADIENT);
  ASSERT_EQ(seen.ooms.size(), 1u);
  EXPECT_EQ(seen.ooms[0].device_total, 6);
  ASSERT_EQ(seen.processes.size(), 1u);
  EXPECT_EQ(seen.processes[0].entry(0).pid(), 31u);
  ASSERT_EQ(seen.holders.size(), 1u);
  EXPECT_EQ(reader->tables().String(seen.holders[0].path), "Trainer.history[1]");
  ASSERT_EQ(seen.exits.size(), 1u);
  EXPECT_EQ(seen.exits[0].status, -9);
  EXPECT_EQ(reader->tables().stacks.at(stack).root_module(), 12u);
  EXPECT_TRUE(reader->tables().contexts.at(context).backward());
}

TEST(TraceReaderTest, MergesThreadsInOrderOfTime) {
  TraceBuilder builder;
  for (int i = 0; i < 300; ++i) {
    builder.Thread(1 + i % 3).At(i * 10'000).Alloc(kBase + i * 512, 512, {});
    if (i % 50 == 49) builder.Seal();
  }
  const std::string file = builder.Finish();
  Recorder seen;
  EXPECT_EQ(MustRead(file)->ReadEvents(&seen), 300);
  ASSERT_EQ(seen.allocs.size(), 300u);
  for (size_t i = 0; i < seen.allocs.size(); ++i) EXPECT_EQ(seen.allocs[i].address, kBase + i * 512);
  EXPECT_TRUE(std::is_sorted(seen.times.begin(), seen.times.end()));
}

TEST(TraceReaderTest, AThreadThatRunsOverManyChunksKeepsItsOrderAtEqualTicks) {
  TraceBuilder builder;
  for (int i = 0; i < 20; ++i) builder.At(1000).Alloc(kBase + i * 512, 512, {}), builder.Seal();
  const std::string file = builder.Finish();
  Recorder seen;
  MustRead(file)->ReadEvents(&seen);
  ASSERT_EQ(seen.allocs.size(), 20u);
  for (size_t i = 0; i < seen.allocs.size(); ++i) EXPECT_EQ(seen.allocs[i].address, kBase + i * 512);
}

TEST(TraceReaderTest, ReadingTwiceGivesTheSame) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  const std::string file = builder.Finish();
  const auto reader = MustRead(file);
  Recorder first, second;
  EXPECT_EQ(reader->ReadEvents(&first), reader->ReadEvents(&second));
  EXPECT_EQ(second.allocs.size(), 1u);
}

TEST(TraceReaderTest, TextThatIsNotUtf8IsMadeSo) {
  TraceBuilder builder;
  const uint32_t id = builder.String("a\xff\xc3\xa9\xed\xa0\x80");
  const std::string file = builder.Finish();
  EXPECT_EQ(MustRead(file)->tables().String(id), "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TraceReaderTest, AMissingFileIsNotFoundAndNamed) {
  const auto reader = TraceReader::Open("/nonexistent/run.oomtrace");
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("/nonexistent/run.oomtrace"));
}

TEST(TraceReaderTest, ADirectoryIsRefused) {
  EXPECT_EQ(TraceReader::Open("/").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TraceReaderTest, AnEmptyFileIsDamagedBeyondUse) {
  EXPECT_EQ(TraceReader::FromBytes("", "t").status().code(), absl::StatusCode::kDataLoss);
}

TEST(TraceReaderTest, AForeignFileIsRefusedWithWhatStoodThere) {
  for (const std::string& bytes : {std::string("#!/bin/sh\n"), "PK\x03\x04" + std::string(8000, 'x')}) {
    const absl::Status status = TraceReader::FromBytes(bytes, "t").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("not an oomtrace trace"));
    EXPECT_FALSE(absl::StrContains(status.message(), "\n"));
  }
}

TEST(TraceReaderTest, AnotherVersionIsNamed) {
  std::string file = TraceBuilder().Finish();
  file[8] = 9;
  EXPECT_THAT(std::string(TraceReader::FromBytes(file, "t").status().message()), HasSubstr("format version 9"));
}

TEST(TraceReaderTest, AHeaderWithoutItsChunksIsDamagedBeyondUse) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  const std::string file = builder.Finish();
  EXPECT_EQ(TraceReader::FromBytes(std::string_view(file).substr(0, 4100), "t").status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(TraceReaderTest, ARecordingWithoutAChunkIsDamagedBeyondUse) {
  EXPECT_EQ(TraceReader::FromBytes(TraceBuilder().Finish(), "t").status().code(), absl::StatusCode::kDataLoss);
}

TEST(TraceReaderTest, AnArmedRecorderThatSawNothingIsATraceWithoutEvents) {
  TraceBuilder builder;
  builder.State(3, "torch is not there");
  const std::string file = builder.Finish();
  const auto reader = MustRead(file);
  EventSink none;
  EXPECT_EQ(reader->ReadEvents(&none), 0);
  EXPECT_EQ(RecorderStateText(reader->header()), "disabled: torch is not there");
  EXPECT_THAT(reader->damage(), IsEmpty());
}

TEST(TraceReaderTest, AWrongChecksumIsNotedAndTheRecordsStillUsed) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  builder.Alloc(kBase + 512, 512, {});
  std::string file = builder.Finish(/*seal_all=*/true);
  file[kFileHeaderSize + 40] ^= 1;
  const auto reader = MustRead(file);
  Recorder seen;
  EXPECT_EQ(reader->ReadEvents(&seen), 2);
  EXPECT_THAT(reader->damage(), ElementsAre(HasSubstr("checksum")));
}

TEST(TraceReaderTest, ACountBeyondTheChunkIsClippedAndNoted) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  std::string file = builder.Finish();
  const uint32_t committed = 70'000;
  std::memcpy(file.data() + kFileHeaderSize + 36, &committed, sizeof(committed));
  const auto reader = MustRead(file);
  Recorder seen;
  EXPECT_GE(reader->ReadEvents(&seen), 1);
  EXPECT_THAT(reader->damage(), Contains(HasSubstr("70000 bytes committed")));
}

TEST(TraceReaderTest, AChunkWithoutItsMagicIsReadAllTheSame) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  std::string file = builder.Finish();
  file[kFileHeaderSize] ^= 4;
  const auto reader = MustRead(file);
  Recorder seen;
  EXPECT_EQ(reader->ReadEvents(&seen), 1);
  EXPECT_THAT(reader->damage(), ElementsAre(HasSubstr("magic")));
}

TEST(TraceReaderTest, AFlippedBaseTimeIsPutRight) {
  TraceBuilder builder;
  for (int i = 0; i < 6; ++i) builder.At(i * 1'000'000'000ll).Alloc(kBase + i * 512, 512, {}), builder.Seal();
  std::string file = builder.Finish();
  file[kFileHeaderSize + 2 * kChunkSize + 16 + 6] ^= 1;  // base ticks of the third chunk: 2^48 ticks later
  const auto reader = MustRead(file);
  Recorder seen;
  reader->ReadEvents(&seen);
  ASSERT_EQ(seen.allocs.size(), 6u);
  EXPECT_EQ(seen.allocs[2].address, kBase + 2 * 512);
  EXPECT_NEAR(static_cast<double>(seen.allocs[2].time), 2e9, 1e6);
  EXPECT_THAT(reader->damage(), ElementsAre(HasSubstr("clocks disagree")));
}

// Six chunks of two threads, sealed and not, with one event of most kinds.
std::string SmallTrace() {
  TraceBuilder builder;
  const uint32_t stack = builder.Stack({{"train.py", "main", 7}, {"model.py", "forward", 9}}, 11, 12);
  const uint32_t layout = builder.Layout({4, 16}, testing::kFloat32);
  for (int i = 0; i < 4; ++i) {
    builder.Thread(1 + i % 2).At(i * 100'000);
    builder.Alloc(kBase + i * 512, 512, {stack, layout, builder.Context({})});
    builder.HostCopy(kBase + i * 512, 256);
    builder.Role(trace::TensorRole::PARAMETER, kBase + i * 512, 512, "w", 12);
    builder.Free(kBase + i * 512);
    if (i < 2) builder.Seal();
  }
  trace::GpuProcesses list;
  list.add_entry()->set_name("other");
  builder.GpuProcesses(list);
  builder.Exit(1);
  return builder.Finish();
}

// Opens and reads to the end. The bounds are those of the undamaged trace: damage must not multiply events.
void ReadAll(std::string_view bytes, int64_t most_events) {
  auto reader = TraceReader::FromBytes(bytes, "t");
  if (!reader.ok()) {
    EXPECT_FALSE(absl::StrContains(reader.status().message(), "\n")) << reader.status();
    return;
  }
  Recorder seen;
  EXPECT_LE((*reader)->ReadEvents(&seen), most_events);
  for (const std::string& line : (*reader)->damage()) EXPECT_FALSE(absl::StrContains(line, "\n"));
}

std::vector<size_t> BytesInUse(const std::string& file) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < file.size(); ++at) {
    const size_t in_chunk = at < kFileHeaderSize ? 0 : (at - kFileHeaderSize) % kChunkSize;
    if (at < 512 || (at >= kFileHeaderSize && in_chunk < 512)) offsets.push_back(at);
  }
  return offsets;
}

TEST(TraceReaderTest, ATraceCutAtAnyByteGivesItsPrefix) {
  const std::string file = SmallTrace();
  const auto whole = MustRead(file);
  Recorder all;
  const int64_t events = whole->ReadEvents(&all);
  int64_t before = 0;
  for (const size_t size : BytesInUse(file)) {
    const std::string_view prefix = std::string_view(file).substr(0, size);
    auto reader = TraceReader::FromBytes(prefix, "t");
    if (size < kFileHeaderSize + kChunkHeaderSize) {
      EXPECT_EQ(reader.status().code(), absl::StatusCode::kDataLoss) << size;
      continue;
    }
    ASSERT_TRUE(reader.ok()) << size << ": " << reader.status();
    Recorder seen;
    const int64_t count = (*reader)->ReadEvents(&seen);
    EXPECT_THAT((*reader)->damage(), Not(IsEmpty())) << size;
    EXPECT_GE(count, before) << "a longer prefix holds no fewer events, at " << size;
    EXPECT_LE(count, events);
    before = count;
  }
  EXPECT_GT(before, 0);
}

TEST(TraceReaderTest, AFlippedBitAnywhereNeitherCrashesNorMultiplies) {
  const std::string file = SmallTrace();
  for (const size_t at : BytesInUse(file)) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = file;
      damaged[at] ^= static_cast<char>(1 << bit);
      ReadAll(damaged, 4000);
    }
  }
}

TEST(TraceReaderTest, AFlippedBitInASealedPayloadIsAlwaysReported) {
  TraceBuilder builder;
  builder.Alloc(kBase, 512, {});
  builder.HostCopy(kBase, 12);
  const std::string file = builder.Finish(/*seal_all=*/true);
  uint32_t committed;
  std::memcpy(&committed, file.data() + kFileHeaderSize + 36, sizeof(committed));
  for (size_t at = 0; at < committed; ++at) {
    std::string damaged = file;
    damaged[kFileHeaderSize + kChunkHeaderSize + at] ^= 0x10;
    EXPECT_THAT(MustRead(damaged)->damage(), Not(IsEmpty())) << at;
  }
}

// Which of an old event chunk and the fold that replaces it counts, by the header's generation.
// A chunk that a fold has taken in by half: its events up to the horizon count where the header does not name the fold
// yet, those of the fold where it does, and never both. Likewise what is kept from one fold to the next.
TEST(TraceReaderTest, AKillAmidAFoldLeavesTheOldStateOrTheNew) {
  TraceBuilder builder;
  builder.At(1000).Alloc(kBase, 512, {});
  builder.Phase(trace::Phase::ZERO_GRAD);
  const int64_t horizon = builder.now();
  builder.At(horizon + 1000).Alloc(kBase + 1024, 512, {});
  builder.Thread(2).EventsIn(Kind::kFold).At(1000).Alloc(kBase, 512, {});
  builder.Thread(3).EventsIn(Kind::kFold).At(2000).Phase(trace::Phase::ZERO_GRAD);
  std::string file = builder.Finish(/*seal_all=*/true);
  const uint32_t kept = 0;
  std::memcpy(file.data() + kFileHeaderSize + 2 * kChunkSize + 44, &kept, sizeof(kept));
  for (const uint32_t generation : {0u, 1u}) {
    std::memcpy(file.data() + 112, &generation, sizeof(generation));
    Recorder seen;
    EXPECT_EQ(MustRead(file)->ReadEvents(&seen), 3) << generation;
    ASSERT_EQ(seen.allocs.size(), 2u);
    EXPECT_EQ(seen.allocs[0].address, kBase);
    EXPECT_EQ(seen.allocs[1].address, kBase + 1024);
    ASSERT_EQ(seen.phases.size(), 1u);
  }
}

TEST(TraceReaderTest, ReadsAFileOnDisk) {
  const std::string path = ::testing::TempDir() + "/reader_test.oomtrace";
  std::ofstream(path, std::ios::binary) << SmallTrace();
  auto reader = TraceReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  Recorder seen;
  EXPECT_EQ((*reader)->ReadEvents(&seen), 18);
}

}  // namespace
}  // namespace oomtrace
