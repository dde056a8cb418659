// A process that dies at any moment leaves a trace that is a prefix of what it did: tests/moments/writer is killed at
// its first test point, at its second, and so on to its last, and what the analyzer's reader makes of the file is
// compared with the script. Where events have been folded, what follows from them is compared: what lives, with its
// stack and its role, the steps, the highest bytes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>

#include "analyzer/read/trace_reader.h"
#include "tests/moments/script.h"

namespace oomtrace {
namespace {

using moments::Act;
using moments::Operation;

struct Event {
  Act act;
  uint64_t address;
  uint64_t bytes;
  uint32_t line;
  bool operator==(const Event&) const = default;
};

// What a prefix of the script comes to.
struct Outcome {
  std::map<uint64_t, std::pair<uint64_t, uint32_t>> blocks;  // bytes and line
  std::set<uint64_t> roles, host_copies, device_blocks;      // of what lives
  uint64_t steps = 0;
  uint64_t highest = 0;  // bytes in blocks
  bool operator==(const Outcome&) const = default;

  uint64_t bytes = 0;
  void Apply(const Event& event) {
    switch (event.act) {
      case Act::kAlloc:
        blocks[event.address] = {event.bytes, event.line};
        bytes += event.bytes;
        highest = std::max(highest, bytes);
        break;
      case Act::kFree:
        bytes -= blocks.at(event.address).first;
        blocks.erase(event.address);
        roles.erase(event.address);
        host_copies.erase(event.address);
        break;
      case Act::kRole:
        roles.insert(event.address);
        break;
      case Act::kHostCopy:
        host_copies.insert(event.address);
        break;
      case Act::kDeviceAlloc:
        device_blocks.insert(event.address);
        break;
      case Act::kDeviceFree:
        device_blocks.erase(event.address);
        break;
      case Act::kStepEnd:
        ++steps;
        break;
      case Act::kFiller:
      case Act::kTooLarge:
        break;
    }
  }
};

class Collector : public EventSink {
 public:
  explicit Collector(const Tables& tables) : tables_(tables) {}
  void OnTensorAlloc(const TensorAllocEvent& event) override {
    uint32_t line = 0;
    if (event.stack != 0) line = tables_.frames.at(tables_.stacks.at(event.stack).frame(0)).line();
    events.push_back({Act::kAlloc, event.address, static_cast<uint64_t>(event.bytes), line});
  }
  void OnTensorFree(const TensorFreeEvent& event) override { events.push_back({Act::kFree, event.address, 0, 0}); }
  void OnTensorRole(const TensorRoleEvent& event) override {
    const Act act = event.role == trace::TensorRole::PARAMETER ? Act::kRole : Act::kTooLarge;
    events.push_back({act, event.address, static_cast<uint64_t>(event.bytes), 0});
  }
  void OnHostCopy(const HostCopyEvent& event) override {
    events.push_back({Act::kHostCopy, event.address, static_cast<uint64_t>(event.bytes), 0});
  }
  void OnDeviceAlloc(const DeviceAllocEvent& event) override {
    events.push_back({Act::kDeviceAlloc, event.address, static_cast<uint64_t>(event.bytes), 0});
  }
  void OnDeviceFree(const DeviceFreeEvent& event) override {
    events.push_back({Act::kDeviceFree, event.address, 0, 0});
  }
  void OnPhase(const PhaseEvent& event) override { events.push_back({Act::kStepEnd, 0, 0, 0}); }
  void OnHolder(const HolderEvent& event) override { events.push_back({Act::kFiller, 0, 0, 0}); }
  void OnFoldedSteps(const FoldedStepsEvent& event) override {
    folded_steps += static_cast<uint64_t>(event.steps);
    folded_highest = std::max(folded_highest, static_cast<uint64_t>(event.peak));
  }

  std::vector<Event> events;
  uint64_t folded_steps = 0, folded_highest = 0;

 private:
  const Tables& tables_;
};

Event ExpectedEvent(const Operation& operation) {
  const bool sized = operation.act != Act::kFree && operation.act != Act::kDeviceFree;
  return {operation.act, operation.address, sized && operation.act != Act::kTooLarge ? operation.bytes : 0,
          operation.act == Act::kAlloc ? operation.line : 0};
}

class MomentsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_);
    const int file = open(progress_path_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_EQ(ftruncate(file, sizeof(moments::Progress)), 0);
    void* memory = mmap(nullptr, sizeof(moments::Progress), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ASSERT_NE(memory, MAP_FAILED);
    close(file);
    progress_ = static_cast<moments::Progress*>(memory);
    for (const Operation& operation : moments::Script(GetParam())) script_.push_back(ExpectedEvent(operation));
  }
  void TearDown() override {
    munmap(progress_, sizeof(moments::Progress));
    std::filesystem::remove_all(directory_);
  }

  // The status of a writer that dies at the n-th point.
  int Write(uint64_t n) {
    std::filesystem::remove(trace_);
    *progress_ = {};
    std::string program = MOMENTS_WRITER, script = GetParam(), number = std::to_string(n);
    char* arguments[] = {program.data(), script.data(), progress_path_.data(), number.data(), nullptr};
    std::string file = "OOMTRACE_FILE=" + trace_, budget = "OOMTRACE_BUDGET=1MiB";
    char* environment[] = {file.data(), budget.data(), nullptr};
    pid_t child;
    if (posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environment) != 0) return -1;
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  }

  // Whether what the trace says is what the first `count` operations come to.
  void ExpectPrefix() {
    auto reader = TraceReader::Open(trace_);
    if (!reader.ok()) {
      EXPECT_EQ(progress_->done, 0u) << reader.status();
      return;
    }
    Collector found((*reader)->tables());
    (*reader)->ReadEvents(&found);
    EXPECT_TRUE((*reader)->damage().empty()) << (*reader)->damage()[0];
    const FileHeader& header = (*reader)->header();
    EXPECT_EQ(header.events_dropped, 0u);
    const auto matches = [&](uint64_t count) {
      return count <= script_.size() &&
             (header.fold_generation == 0 ? AreTheLast(found.events, count, header.chunks_recycled > 0)
                                          : ComeToTheSame(found, count));
    };
    EXPECT_TRUE(matches(progress_->done) || matches(progress_->done + 1))
        << progress_->done << " operations were done; " << found.events.size() << " events, fold "
        << header.fold_generation << ", " << header.chunks_recycled << " chunks recycled";
  }

  bool AreTheLast(const std::vector<Event>& events, uint64_t count, bool may_lack_the_first) const {
    if (events.size() > count || (!may_lack_the_first && events.size() != count)) return false;
    return std::equal(events.rbegin(), events.rend(),
                      std::make_reverse_iterator(script_.begin() + static_cast<int64_t>(count)));
  }

  bool ComeToTheSame(const Collector& found, uint64_t count) const {
    Outcome expected, outcome;
    for (uint64_t i = 0; i < count; ++i) expected.Apply(script_[i]);
    for (const Event& event : found.events) {
      if (event.act == Act::kFree && outcome.blocks.count(event.address) == 0) return false;
      outcome.Apply(event);
    }
    outcome.highest = std::max(outcome.highest, found.folded_highest);
    return outcome == expected && found.folded_steps <= outcome.steps;
  }

  const std::string directory_ =
      (std::filesystem::temp_directory_path() / ("moments_test." + std::to_string(getpid()))).string();
  const std::string trace_ = directory_ + "/run.oomtrace";
  std::string progress_path_ = directory_ + "/progress";
  moments::Progress* progress_ = nullptr;
  std::vector<Event> script_;
};

TEST_P(MomentsTest, KilledAtEachOfThem) {
  const std::string script = GetParam();
  ASSERT_EQ(Write(0), 0);
  ASSERT_EQ(progress_->finished, 1u);
  ASSERT_EQ(progress_->done, script_.size());
  const uint64_t points = progress_->points;
  std::istringstream lines(progress_->names);
  std::set<std::string> reached;
  for (std::string line; std::getline(lines, line);) reached.insert(line);
  for (const char* common : {"open: file made",
                             "open: mapped",
                             "open: before the magic",
                             "open: done",
                             "grow: reserved",
                             "start: file open",
                             "start: process written",
                             "start: state in the header",
                             "begin: pages there",
                             "begin: magic gone",
                             "begin: header filled in",
                             "begin: done",
                             "writer: chunk taken",
                             "run: tag",
                             "run: begun",
                             "run: before its length",
                             "run: ended",
                             "commit: before",
                             "commit: after",
                             "seal: checksum",
                             "seal: done",
                             "release: before",
                             "release: after",
                             "facts: written, not yet known"})
    EXPECT_EQ(reached.count(common), 1u) << common;
  for (const char* fold : {"fold: generation written", "fold: kept events written", "fold: horizon written",
                           "fold: counts", "fold: events counted", "fold: last generation gone"})
    EXPECT_EQ(reached.count(fold), script == "lossy" ? 0u : 1u) << fold;
  EXPECT_EQ(reached.count("recycle: counted"), script == "lossy" ? 1u : 0u);
  ExpectPrefix();

  for (uint64_t n = 1; n <= points && !HasFailure(); ++n) {
    const int status = Write(n);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "point " << n << " of " << points;
    ExpectPrefix();
    if (HasFailure()) ADD_FAILURE() << "killed at point " << n << " of " << points;
  }
}

INSTANTIATE_TEST_SUITE_P(Scripts, MomentsTest, ::testing::Values("one", "two", "lossy"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace oomtrace
