#include "interpose/record/fold.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "interpose/record/compact_writer.h"
#include "interpose/record/testing/read_back.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

using oomtrace::testing::ReadBack;
using oomtrace::testing::ReadEvent;
using oomtrace::testing::ReadTrace;

struct Block {
  uint64_t bytes;
  uint32_t stack;
  bool operator==(const Block&) const = default;
};

// A free of what is not there ends a life that was folded away while the chunk with the free was still being written.
std::map<uint64_t, Block> LiveAtTheEnd(const ReadTrace& trace) {
  std::map<uint64_t, Block> live;
  for (const ReadEvent& event : trace.InOrderOfTime()) {
    if (event.kind == wire::kTensorAlloc) live[event.address] = {event.block.bytes, event.block.stack};
    if (event.kind == wire::kTensorFree) live.erase(event.address);
  }
  return live;
}

class FoldTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_);
    Reason reason;
    int error;
    ASSERT_TRUE(file_->Open((directory_ / "trace").c_str(), 2 << 20, &reason, &error)) << reason.c_str();
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Two threads' writers, used in turn with clock ticks that grow by a unit of compact time at least, as under the
  // allocator's lock.
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
    proto.Uint(1, chunk.TicksSince(now_ = std::max(now_ + 16, Ticks())));
    fill(chunk, proto);
    proto.End(message);
    chunk.Commit(proto.position());
  }
  void Allocate(int writer, uint64_t address, Block block) {
    now_ = std::max(now_ + 16, Ticks());
    ASSERT_TRUE(WriteCompactAlloc(Writer(writer), {now_, address, block.bytes, 1 << 30, 0}, {block.stack, 0, 0, 0}));
    truth_[address] = block;
  }
  void Free(int writer, uint64_t address) {
    now_ = std::max(now_ + 16, Ticks());
    ASSERT_TRUE(WriteCompactFree(Writer(writer), {now_, address, 0, 1 << 30, 0}));
    truth_.erase(address);
  }
  ReadTrace ReadFile() { return ReadBack(directory_ / "trace"); }

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
  const ReadTrace trace = ReadFile();
  EXPECT_EQ(LiveAtTheEnd(trace), truth_);
  EXPECT_EQ(trace.Count(wire::kPhase), 1000u) << "every phase is kept";
  EXPECT_EQ(trace.Count(wire::kTensorRole), 1u);
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
    ASSERT_EQ(LiveAtTheEnd(ReadFile()), truth_) << i;
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
  EXPECT_EQ(LiveAtTheEnd(ReadFile()), truth_);
}

// More live blocks than the spare chunks can hold: folding gives up, and the loss is counted.
TEST_F(FoldTest, WhatDoesNotFitIsCountedAsLost) {
  for (uint64_t i = 1; i <= 400000; ++i) Allocate(0, i * 512 * 1009, {i, 1});
  EXPECT_GT(file_->header()->recycled_chunks.load(), 0u);
  EXPECT_LE(std::filesystem::file_size(directory_ / "trace"), 2u << 20);
}

}  // namespace
}  // namespace oomtrace
