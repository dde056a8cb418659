#include "interpose/record/recorder.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "interpose/record/events.h"
#include "interpose/record/process_info.h"
#include "interpose/record/testing/read_back.h"

namespace oomtrace {
namespace {

using oomtrace::testing::ReadBack;
using oomtrace::testing::ReadTrace;

// Each test runs in a child: the recorder is one for a process.
class RecorderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_);
    setenv("OOMTRACE_DIR", directory_.c_str(), 1);
    unsetenv("OOMTRACE_FILE");
    unsetenv("OOMTRACE");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  template <typename Body>
  int InChild(Body body) {
    const pid_t child = fork();
    if (child == 0) {
      body();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }
  std::vector<std::filesystem::path> Files() {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) files.push_back(entry.path());
    return files;
  }
  static void Allocate(uint64_t address, uint64_t bytes) {
    Entry entry(Cause::kMemory);
    if (entry) RecordTensorAlloc(entry.thread(), address, bytes, 0, 4096, {});
  }
  static size_t Allocations(const ReadTrace& read) { return read.Count(wire::kTensorAlloc); }

  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("recorder_test." + std::to_string(getpid()));
};

TEST_F(RecorderTest, OffWritesNothing) {
  setenv("OOMTRACE", "0", 1);
  InChild([] {
    Recorder::Initialize();
    Allocate(512, 512);
  });
  EXPECT_TRUE(Files().empty());
}

TEST_F(RecorderTest, ArmedWritesNothing) {
  InChild([] {
    Recorder::Initialize();
    Entry entry(Cause::kFact);
    if (entry) _exit(1);
  });
  EXPECT_TRUE(Files().empty());
}

TEST_F(RecorderTest, KeepsWhatWasCommittedBeforeSigkill) {
  const int status = InChild([] {
    Recorder::Initialize();
    for (uint64_t i = 1; i <= 30000; ++i) Allocate(i * 512, 512);
    raise(SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(Files().size(), 1u);
  const ReadTrace read = ReadBack(Files()[0]);
  EXPECT_EQ(read.header->state.load(), static_cast<uint32_t>(State::kRecording));
  EXPECT_EQ(Allocations(read), 30000u);
  ASSERT_GE(read.facts.process_size(), 1);
  EXPECT_EQ(read.facts.process(0).pid(), read.header->pid);
}

TEST_F(RecorderTest, AForkedChildHasATraceOfItsOwn) {
  InChild([] {
    Recorder::Initialize();
    for (int i = 1; i <= 10; ++i) Allocate(i * 512, 512);
    const pid_t quiet = fork();
    if (quiet == 0) _exit(0);
    waitpid(quiet, nullptr, 0);
    const pid_t busy = fork();
    if (busy == 0) {
      for (int i = 1; i <= 3; ++i) Allocate(i * 512, 512);
      _exit(0);
    }
    waitpid(busy, nullptr, 0);
    for (int i = 1; i <= 5; ++i) Allocate(i * 512, 512);
  });
  ASSERT_EQ(Files().size(), 2u) << "the child that touched nothing leaves no file";
  std::multiset<size_t> counts;
  for (const auto& file : Files()) counts.insert(Allocations(ReadBack(file)));
  EXPECT_EQ(counts, (std::multiset<size_t>{3, 15}));
}

TEST_F(RecorderTest, ThreadsHandTheirChunksOn) {
  InChild([] {
    Recorder::Initialize();
    for (int round = 0; round < 50; ++round) {
      std::thread worker([] {
        for (int i = 1; i <= 20; ++i) Allocate(i * 512, 512);
      });
      worker.join();
    }
  });
  ASSERT_EQ(Files().size(), 1u);
  const ReadTrace read = ReadBack(Files()[0]);
  EXPECT_EQ(Allocations(read), 1000u);
  EXPECT_EQ(read.chunks.size(), 1u) << "50 threads, one after the other, need one chunk";
}

TEST_F(RecorderTest, ThreadsAtOnceLoseNothing) {
  InChild([] {
    Recorder::Initialize();
    std::vector<std::thread> workers;
    for (int t = 0; t < 8; ++t) {
      workers.emplace_back([t] {
        for (int i = 1; i <= 5000; ++i) {
          Entry entry(Cause::kMemory);
          const std::string name = "string " + std::to_string(i % 700);
          const int64_t sizes[] = {i % 100, 3};
          Attribution attribution;
          attribution.layout = entry.recorder().facts().Layout({sizes, nullptr, 2, 6});
          if (entry.recorder().facts().String(name) == 0) _exit(1);
          RecordTensorAlloc(entry.thread(), static_cast<uint64_t>(t * 100000 + i) * 512, 512, 0, 0, attribution);
        }
      });
    }
    for (auto& worker : workers) worker.join();
  });
  ASSERT_EQ(Files().size(), 1u);
  const ReadTrace read = ReadBack(Files()[0]);
  EXPECT_EQ(Allocations(read), 40000u);
  EXPECT_EQ(read.header->dropped_events.load(), 0u);
  EXPECT_EQ(read.facts.layout_size(), 100) << "each layout once";
  std::set<uint32_t> ids;
  std::set<std::string> values;
  for (const auto& string : read.facts.string()) {
    EXPECT_TRUE(ids.insert(string.id()).second);
    EXPECT_TRUE(values.insert(string.value()).second) << "twice: " << string.value();
  }
}

// Runs of compact events are closed and begun while another thread folds them. One thread writes rarely: its chunk
// stays open over many folds.
TEST_F(RecorderTest, ThreadsAtOnceWhileTheTraceIsFolded) {
  constexpr int kThreads = 4, kRounds = 100000, kRare = 100;
  setenv("OOMTRACE_BUDGET", "2MiB", 1);
  const int status = InChild([] {
    Recorder::Initialize();
    std::atomic<int> round{0};
    const auto work = [&](int thread, int i) {
      const auto address = static_cast<uint64_t>(thread * 1000 + i % 100) * 512;
      Entry entry(Cause::kMemory);
      const uint64_t key = static_cast<uint64_t>(i % 50 + 1) << 32;
      Attribution attribution;
      attribution.site = entry.recorder().facts().FindSite(key);
      if (attribution.site == 0) attribution.site = entry.recorder().facts().AddSite(key, {512, 0, 0, 0, 0});
      RecordTensorAlloc(entry.thread(), address, 512, 0, 1 << 20, attribution);
      if (i % 3 == 0) RecordMemoryInfo(entry.thread(), 0, static_cast<uint64_t>(i), 1 << 30);
      if (i <= kRounds - 10) RecordTensorFree(entry.thread(), address, 0, 1 << 20);
    };
    std::vector<std::thread> workers;
    for (int t = 1; t < kThreads; ++t) {
      workers.emplace_back([&, t] {
        for (int i = 1; i <= kRounds; ++i) {
          work(t, i);
          if (t == 1) round.store(i, std::memory_order_relaxed);
        }
      });
    }
    for (int i = kRare; i <= kRounds; i += kRare) {
      while (round.load(std::memory_order_relaxed) < i) sched_yield();
      work(kThreads, i);
    }
    for (auto& worker : workers) worker.join();
  });
  unsetenv("OOMTRACE_BUDGET");
  EXPECT_EQ(status, 0);
  ASSERT_EQ(Files().size(), 1u);
  const ReadTrace read = ReadBack(Files()[0]);
  EXPECT_GT(read.header->fold_generation.load(), 2u);
  EXPECT_EQ(read.header->dropped_events.load(), 0u);
  EXPECT_EQ(read.header->recycled_chunks.load(), 0u);
  std::set<uint64_t> live;
  for (const auto& event : read.InOrderOfTime()) {
    if (event.kind == wire::kTensorAlloc) live.insert(event.address);
    if (event.kind == wire::kTensorFree) {
      EXPECT_EQ(live.erase(event.address), 1u);
    }
  }
  EXPECT_EQ(live.size(), (kThreads - 1) * 10u + 1);
}

TEST_F(RecorderTest, FactsOutliveEveryFold) {
  setenv("OOMTRACE_BUDGET", "2MiB", 1);
  InChild([] {
    Recorder::Initialize();
    for (int i = 1; i <= 400000; ++i) {
      Entry entry(Cause::kMemory);
      if (i % 1000 == 0) entry.recorder().facts().Note("still here");
      RecordTensorAlloc(entry.thread(), 512, 512, 0, 0, {});
    }
  });
  unsetenv("OOMTRACE_BUDGET");
  ASSERT_EQ(Files().size(), 1u);
  const ReadTrace read = ReadBack(Files()[0]);
  EXPECT_GT(read.header->fold_generation.load(), 1u);
  EXPECT_EQ(read.facts.process_size(), 1);
  EXPECT_EQ(read.facts.note_size(), 400);
}

TEST_F(RecorderTest, ExplicitFileAndASecondProcess) {
  const std::string file = (directory_ / "run.oomtrace").string();
  setenv("OOMTRACE_FILE", file.c_str(), 1);
  for (int run = 0; run < 2; ++run) {
    InChild([] {
      Recorder::Initialize();
      Allocate(512, 512);
    });
  }
  unsetenv("OOMTRACE_FILE");
  ASSERT_EQ(Files().size(), 2u);
  EXPECT_TRUE(std::filesystem::exists(file));
  for (const auto& path : Files()) {
    EXPECT_EQ(path.extension(), ".oomtrace");
    EXPECT_EQ(path.filename().string().rfind("run.", 0), 0u);
  }
}

TEST_F(RecorderTest, ADirectoryThatIsNotThereDisables) {
  setenv("OOMTRACE_DIR", (directory_ / "missing").c_str(), 1);
  const int status = InChild([] {
    Recorder::Initialize();
    for (int i = 1; i <= 3; ++i) Allocate(i * 512, 512);
    const bool said = std::string(Recorder::Current()->reason()).find("No such file") != std::string::npos;
    _exit(Recorder::Current()->state() == State::kDisabled && said ? 0 : 1);
  });
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(RecorderTest, LeavesErrnoAlone) {
  const int status = InChild([] {
    Recorder::Initialize();
    errno = 42;
    Allocate(512, 512);
    _exit(errno == 42 ? 0 : 1);
  });
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(ProcessInfo, OnlyVariablesOfMemory) {
  EXPECT_TRUE(MattersForMemory("PYTORCH_ALLOC_CONF=expandable_segments:True"));
  EXPECT_TRUE(MattersForMemory("OOMTRACE_SIM_GPU=rtx4070"));
  EXPECT_TRUE(MattersForMemory("RANK=0"));
  EXPECT_FALSE(MattersForMemory("AWS_SECRET_ACCESS_KEY=x"));
  EXPECT_FALSE(MattersForMemory("RANKING=1"));
  EXPECT_FALSE(MattersForMemory("HF_TOKEN"));
}

}  // namespace
}  // namespace oomtrace
