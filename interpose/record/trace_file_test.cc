#include "interpose/record/trace_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "interpose/record/chunk_writer.h"
#include "interpose/record/crc32c.h"
#include "interpose/record/trace_name.h"

namespace oomtrace {
namespace {

class TraceFileTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path(const char* name) { return (directory_ / name).string(); }
  bool Open(TraceFile& file, const std::string& path, uint64_t budget) {
    reason_.Clear();
    return file.Open(path.c_str(), budget, &reason_, &error_);
  }

  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("trace_file_test." + std::to_string(getpid()));
  Reason reason_;
  int error_ = 0;
};

TEST_F(TraceFileTest, HeaderIsAsDocumented) {
  auto file = std::make_unique<TraceFile>();
  ASSERT_TRUE(Open(*file, Path("a"), 8 << 20));
  std::ifstream stream(Path("a"), std::ios::binary);
  char header[64];
  stream.read(header, sizeof(header));
  EXPECT_EQ(std::string(header, 8), "OOMTRACE");
  const auto* words = reinterpret_cast<const uint32_t*>(header);
  EXPECT_EQ(words[2], 1u);
  EXPECT_EQ(words[3], 4096u);
  EXPECT_EQ(words[4], 65536u);
  EXPECT_EQ(words[5], 64u);
  EXPECT_EQ(words[11], static_cast<uint32_t>(getpid()));
  struct stat status;
  ASSERT_EQ(stat(Path("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(TraceFileTest, NeverTakesAFileThatIsThere) {
  std::ofstream(Path("mine")) << "precious";
  auto file = std::make_unique<TraceFile>();
  EXPECT_FALSE(Open(*file, Path("mine"), 8 << 20));
  EXPECT_EQ(error_, EEXIST);
  EXPECT_EQ(std::filesystem::file_size(Path("mine")), 8u);
}

TEST_F(TraceFileTest, SaysWhyItCannot) {
  auto file = std::make_unique<TraceFile>();
  EXPECT_FALSE(Open(*file, Path("no/such/directory"), 8 << 20));
  EXPECT_EQ(error_, ENOENT);
  EXPECT_NE(std::string(reason_.c_str()).find("no/such/directory: No such file"), std::string::npos) << reason_.c_str();
}

TEST_F(TraceFileTest, StaysWithinTheBudgetAndUsesTheOldestAgain) {
  constexpr uint64_t kBudget = 2 << 20;
  auto file = std::make_unique<TraceFile>();
  ASSERT_TRUE(Open(*file, Path("ring"), kBudget));
  const uint64_t chunks = file->header()->budget_chunks;
  ChunkHeader* permanent = file->Take(ChunkKind::kPermanent, 1);
  ASSERT_NE(permanent, nullptr);
  uint64_t last = 0;
  for (uint64_t i = 0; i < 5 * chunks; ++i) {
    ChunkHeader* chunk = file->Take(ChunkKind::kEvents, 1);
    ASSERT_NE(chunk, nullptr) << i;
    EXPECT_GT(chunk->sequence, last);
    last = chunk->sequence;
    chunk->committed.store(0, std::memory_order_release);
    file->Seal(chunk);
    EXPECT_EQ(chunk->crc, Crc32c(chunk->payload(), 0));
  }
  EXPECT_LE(std::filesystem::file_size(Path("ring")), kBudget);
  EXPECT_EQ(permanent->sequence, 1u);  // still the first: never used again
  EXPECT_EQ(permanent->kind, static_cast<uint16_t>(ChunkKind::kPermanent));

  std::set<uint64_t> sequences;
  auto* base = reinterpret_cast<uint8_t*>(file->header()) + kHeaderSize;
  for (uint64_t i = 0; i < chunks; ++i) {
    const auto* chunk = reinterpret_cast<const ChunkHeader*>(base + i * kChunkSize);
    if (chunk->magic.load() != kChunkMagic) continue;
    EXPECT_TRUE(sequences.insert(chunk->sequence).second);
  }
  EXPECT_EQ(*sequences.rbegin(), last);
  EXPECT_GT(sequences.size(), chunks / 2);
  EXPECT_GT(*std::next(sequences.begin()), last - chunks - 1) << "the oldest are the ones that went";
}

TEST_F(TraceFileTest, HeldChunksAreNotRecycled) {
  auto file = std::make_unique<TraceFile>();
  ASSERT_TRUE(Open(*file, Path("held"), 1 << 20));
  const uint64_t chunks = file->header()->budget_chunks;
  for (uint64_t i = 0; i < chunks; ++i) ASSERT_NE(file->Take(ChunkKind::kEvents, 1), nullptr);
  EXPECT_EQ(file->Take(ChunkKind::kEvents, 1), nullptr);
  EXPECT_EQ(file->header()->recycled_chunks.load(), 0u);
}

TEST_F(TraceFileTest, PermanentChunksLeaveHalfTheBudget) {
  auto file = std::make_unique<TraceFile>();
  ASSERT_TRUE(Open(*file, Path("half"), 2 << 20));
  uint64_t permanent = 0;
  while (file->Take(ChunkKind::kPermanent, 1) != nullptr) ++permanent;
  EXPECT_EQ(permanent, file->header()->budget_chunks / 2);
  EXPECT_NE(file->Take(ChunkKind::kEvents, 1), nullptr);
}

// Beyond RLIMIT_FSIZE the kernel would kill the process with SIGXFSZ: the trace stays below it.
TEST_F(TraceFileTest, ObeysTheLimitOnFileSizes) {
  EXPECT_EXIT(
      {
        rlimit limit;
        limit.rlim_cur = limit.rlim_max = 1 << 20;
        setrlimit(RLIMIT_FSIZE, &limit);
        auto file = std::make_unique<TraceFile>();
        if (!Open(*file, Path("limited"), 64 << 20)) _exit(1);
        for (int i = 0; i < 100; ++i) {
          ChunkHeader* chunk = file->Take(ChunkKind::kEvents, 1);
          if (chunk == nullptr) _exit(2);
          file->Seal(chunk);
        }
        _exit(std::filesystem::file_size(Path("limited")) <= 1 << 20 ? 0 : 3);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(TraceFileTest, WriterContinuesInANewChunk) {
  auto file = std::make_unique<TraceFile>();
  ASSERT_TRUE(Open(*file, Path("writer"), 8 << 20));
  ChunkWriter writer;
  writer.Bind(file.get(), ChunkKind::kEvents, 5);
  uint8_t* first = writer.Room(kChunkPayload - 10);
  ASSERT_NE(first, nullptr);
  EXPECT_TRUE(writer.ReservedChanged(0, 77));
  EXPECT_FALSE(writer.ReservedChanged(0, 77));
  writer.Commit(first + kChunkPayload - 10);
  EXPECT_EQ(writer.Room(10), first + kChunkPayload - 10);
  EXPECT_NE(writer.Room(11), first + kChunkPayload - 10);
  EXPECT_TRUE(writer.ReservedChanged(0, 77)) << "a new chunk is decoded without the one before it";
  EXPECT_EQ(writer.Room(kChunkPayload + 1), nullptr);
}

TEST(TraceName, ProgramOfACommandLine) {
  const auto name = [](std::string_view line) {
    ProgramName program;
    ProgramFromCommandLine(std::string(line).c_str(), line.size(), &program);
    return std::string(program.c_str());
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(name("python3\0/a/b/train.py\0--x\0"sv), "train");
  EXPECT_EQ(name("/venv/bin/python\0-u\0-m\0pkg.train\0--lr\0"sv), "pkg.train");
  EXPECT_EQ(name("python3.11\0-um\0pkg\0"sv), "pkg");
  EXPECT_EQ(name("python\0-W\0ignore\0-X\0dev\0run me.py\0"sv), "run_me");
  EXPECT_EQ(name("python\0-c\0import torch\0"sv), "python");
  EXPECT_EQ(name("/usr/bin/my-trainer\0x\0"sv), "my-trainer");
  EXPECT_EQ(name("python\0--check-hash-based-pycs\0always\0t.py\0"sv), "t");
  EXPECT_EQ(name(""sv), "process");
}

}  // namespace
}  // namespace oomtrace
