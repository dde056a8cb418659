#include "interpose/record/fold.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "interpose/record/wire.h"
#include "interpose/record/wire_reader.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

struct Block {
  uint64_t bytes;
  uint32_t stack;
  bool operator==(const Block&) const = default;
};

struct TimedRecord {
  uint64_t ticks;
  uint32_t kind;
  uint64_t address;
  Block block;
  uint32_t number;  // role or phase
};

// Reads the file as docs/trace-format.md says, generations included; events in order of ticks.
std::vector<TimedRecord> ReadRecords(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  auto header = std::make_unique<TraceHeader>();
  stream.read(reinterpret_cast<char*>(header.get()), sizeof(TraceHeader));
  std::vector<TimedRecord> records;
  std::string bytes(kChunkSize, 0);
  while (stream.read(bytes.data(), kChunkSize)) {
    auto* chunk = reinterpret_cast<ChunkHeader*>(bytes.data());
    if (chunk->magic.load() != kChunkMagic || chunk->kind == static_cast<uint16_t>(ChunkKind::kPermanent)) continue;
    const uint32_t counts = header->fold_generation.load();
    if (chunk->generation != 0 && chunk->generation != counts) continue;
    if (chunk->folded_in.load() != 0 && chunk->folded_in.load() <= counts) continue;
    WireReader reader(chunk->payload(), chunk->committed.load());
    uint64_t ticks = chunk->base_ticks, rotated = 0;
    while (reader.Next()) {
      TimedRecord record{0, reader.field(), 0, {}, 0};
      const std::string_view message(reinterpret_cast<const char*>(reader.bytes()), reader.size());
      const auto take = [&](const auto& parsed) {
        ticks += parsed.ticks();
        rotated += static_cast<uint64_t>(parsed.block());
        record.address = rotated << 9 | rotated >> 55;
        record.block.bytes = parsed.bytes();
      };
      trace::TensorAlloc alloc;
      trace::TensorFree free;
      trace::TensorRole role;
      trace::Phase phase;
      const int size = static_cast<int>(message.size());
      if (record.kind == wire::kTensorAlloc && alloc.ParseFromArray(message.data(), size)) {
        take(alloc);
        record.block.stack = alloc.stack();
      } else if (record.kind == wire::kTensorFree && free.ParseFromArray(message.data(), size)) {
        take(free);
      } else if (record.kind == wire::kTensorRole && role.ParseFromArray(message.data(), size)) {
        take(role);
        record.number = role.role();
      } else if (record.kind == wire::kPhase && phase.ParseFromArray(message.data(), size)) {
        ticks += phase.ticks();
        record.number = phase.kind();
      } else {
        ADD_FAILURE() << "record " << record.kind;
      }
      record.ticks = ticks;
      records.push_back(record);
    }
  }
  std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.ticks < b.ticks; });
  return records;
}

// A free of what is not there ends a life that was folded away while the chunk with the free was still being written.
std::map<uint64_t, Block> LiveAtTheEnd(const std::vector<TimedRecord>& records) {
  std::map<uint64_t, Block> live;
  for (const TimedRecord& record : records) {
    if (record.kind == wire::kTensorAlloc) live[record.address] = record.block;
    if (record.kind == wire::kTensorFree) live.erase(record.address);
  }
  return live;
}

class FoldTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_);
    Reason reason;
    int error;
    ASSERT_TRUE(file_->Open((directory_ / "trace").c_str(), 2 << 20, &reason, &error)) << reason.c_str();
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Two threads' writers, used in turn with clock ticks that only grow, as under the allocator's lock.
  ChunkWriter& Writer(int number) {
    if (!bound_[number]) writers_[number].Bind(file_.get(), ChunkKind::kEvents, 7);
    bound_[number] = true;
    return writers_[number];
  }
  template <typename Fill>
  void Write(int writer, uint32_t kind, Fill fill) {
    ChunkWriter& chunk = Writer(writer);
    uint8_t* room = chunk.Room(160);
    ASSERT_NE(room, nullptr);
    ProtoWriter proto(room, 160);
    uint8_t* message = proto.Begin(kind);
    proto.Uint(1, chunk.TicksSince(now_ = std::max(now_ + 1, Ticks())));
    fill(chunk, proto);
    proto.End(message);
    chunk.Commit(proto.position());
  }
  void Allocate(int writer, uint64_t address, Block block) {
    Write(writer, wire::kTensorAlloc, [&](ChunkWriter& chunk, ProtoWriter& proto) {
      proto.Sint(2, chunk.BlockDelta(address));
      proto.Uint(3, block.bytes);
      proto.Uint(4, block.stack);
    });
    truth_[address] = block;
  }
  void Free(int writer, uint64_t address) {
    Write(writer, wire::kTensorFree, [&](ChunkWriter& chunk, ProtoWriter& proto) {
      proto.Sint(2, chunk.BlockDelta(address));
      proto.Uint(3, truth_[address].bytes);
    });
    truth_.erase(address);
  }

  std::filesystem::path directory_ = std::filesystem::temp_directory_path() / ("fold_test." + std::to_string(getpid()));
  std::unique_ptr<TraceFile> file_ = std::make_unique<TraceFile>();
  ChunkWriter writers_[2];
  bool bound_[2] = {};
  uint64_t now_ = 0;
  std::map<uint64_t, Block> truth_;
};

TEST_F(FoldTest, TheLiveSetSurvivesAnyNumberOfFolds) {
  std::mt19937_64 random(5);
  ChunkHeader* permanent = file_->Take(ChunkKind::kPermanent, 7);
  Allocate(0, 512, {4096, 77});  // a parameter: the first allocation, never freed
  Write(0, wire::kTensorRole, [&](ChunkWriter& chunk, ProtoWriter& proto) {
    proto.Sint(2, chunk.BlockDelta(512));
    proto.Uint(3, 4000);
    proto.Uint(4, 1);
  });
  for (int i = 0; i < 1000000; ++i) {
    const uint64_t address = (random() % 700 + 2) * 512;
    const int writer = i / 20000 % 2;
    if (truth_.count(address) != 0) {
      Free(writer, address);
    } else {
      Allocate(writer, address, {random() % 100000, static_cast<uint32_t>(random() % 50)});
    }
    if (i % 1000 == 0) Write(writer, wire::kPhase, [](ChunkWriter&, ProtoWriter& proto) { proto.Uint(2, 4); });
  }
  EXPECT_EQ(permanent->sequence, 1u);
  EXPECT_EQ(file_->header()->recycled_chunks.load(), 0u);
  EXPECT_GT(file_->header()->folded_events.load(), 500000u);
  EXPECT_GT(file_->header()->fold_generation.load(), 5u);
  const auto records = ReadRecords(directory_ / "trace");
  EXPECT_EQ(LiveAtTheEnd(records), truth_);
  const auto count = [&](uint32_t kind) {
    return std::count_if(records.begin(), records.end(), [&](const auto& record) { return record.kind == kind; });
  };
  EXPECT_EQ(count(wire::kPhase), 1000) << "every phase is kept";
  EXPECT_EQ(count(wire::kTensorRole), 1);
}

// Two threads that take blocks over from each other, one of them rarely: its chunk stays open over many folds.
TEST_F(FoldTest, ThreadsThatOverlapInTime) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 600000; ++i) {
    const uint64_t address = (random() % 90 + 2) * 512;
    const int writer = random() % 400 == 0 ? 1 : 0;
    if (truth_.count(address) != 0) {
      Free(writer, address);
    } else {
      Allocate(writer, address, {random() % 100000, static_cast<uint32_t>(random() % 50)});
    }
    if (i % 50000 != 49999) continue;
    ASSERT_EQ(LiveAtTheEnd(ReadRecords(directory_ / "trace")), truth_) << i;
  }
  EXPECT_GT(file_->header()->fold_generation.load(), 5u);
  EXPECT_EQ(file_->header()->recycled_chunks.load(), 0u);
}

// A thread that is done early holds its chunk open; what it allocated is freed by another thread, whose chunks are
// folded.
TEST_F(FoldTest, AFreeIsFoldedBeforeItsAllocation) {
  for (uint64_t i = 1; i <= 50; ++i) Allocate(1, i * 512, {i * 100, 3});
  for (uint64_t i = 1; i <= 40; ++i) Free(0, i * 512);
  for (int i = 0; i < 400000; ++i) {
    Allocate(0, 1 << 20, {512, 1});
    Free(0, 1 << 20);
  }
  EXPECT_GT(file_->header()->fold_generation.load(), 2u);
  EXPECT_EQ(truth_.size(), 10u);
  EXPECT_EQ(LiveAtTheEnd(ReadRecords(directory_ / "trace")), truth_);
}

// More live blocks than the spare chunks can hold: folding gives up, and the loss is counted.
TEST_F(FoldTest, WhatDoesNotFitIsCountedAsLost) {
  for (uint64_t i = 1; i <= 400000; ++i) Allocate(0, i * 512 * 1009, {i, 1});
  EXPECT_GT(file_->header()->recycled_chunks.load(), 0u);
  EXPECT_LE(std::filesystem::file_size(directory_ / "trace"), 2u << 20);
}

}  // namespace
}  // namespace oomtrace
