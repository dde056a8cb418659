#include "cli/trace_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

namespace oomtrace {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TraceFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/oomtrace_files_XXXXXX";
    folder_ = mkdtemp(name.data());
    before_ = fs::current_path();
    fs::current_path(folder_);
    unsetenv("OOMTRACE_DIR");
  }
  void TearDown() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  // `age`: seconds since it was written.
  fs::path Write(const std::string& name, int age, const std::string& content = "OOMTRACE") {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << content;
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::seconds(age));
    return path;
  }

  fs::path folder_;
  fs::path before_;
};

TEST_F(TraceFiles, NewestIsByTimeNotByName) {
  Write("a.oomtrace", 10);
  Write("b.oomtrace", 20);
  Write("c.txt", 0);
  EXPECT_EQ(NewestTraces()->front(), "a.oomtrace");
}

TEST_F(TraceFiles, TheWorkingDirectoryComesBeforeTheVariable) {
  Write("elsewhere/new.oomtrace", 0);
  setenv("OOMTRACE_DIR", (folder_ / "elsewhere").c_str(), 1);
  EXPECT_EQ(NewestTraces()->front(), folder_ / "elsewhere/new.oomtrace");
  Write("old.oomtrace", 1000);
  EXPECT_EQ(NewestTraces()->front(), "old.oomtrace");
}

TEST_F(TraceFiles, NoTraceSaysWhereWasLooked) {
  setenv("OOMTRACE_DIR", "/no/such/folder", 1);
  const auto newest = NewestTraces();
  EXPECT_EQ(newest.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(newest.status().message()), HasSubstr("/no/such/folder"));
}

TEST_F(TraceFiles, WhatIsNewerAndNoTraceIsPassedOverAndNamed) {
  Write("trace.oomtrace", 10);  // a trace that ends too early: it is answered as damaged
  Write("note.oomtrace", 0, "no trace at all");
  testing::internal::CaptureStderr();
  EXPECT_EQ(*NewestTrace(), "trace.oomtrace");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("note.oomtrace"));
  fs::remove(folder_ / "trace.oomtrace");
  EXPECT_EQ(NewestTrace().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TraceFiles, AScratchFolderGoesUnlessItIsKept) {
  fs::path gone, kept;
  {
    const ScratchFolder first;
    ScratchFolder second;
    ASSERT_TRUE(first.status().ok()) << first.status();
    gone = first.path();
    kept = second.path();
    EXPECT_TRUE(fs::is_directory(gone));
    second.Keep();
  }
  EXPECT_FALSE(fs::exists(gone));
  EXPECT_TRUE(fs::remove(kept));
}

TEST_F(TraceFiles, WatchTellsNewTracesOnly) {
  Write("before.oomtrace", 5);
  const TraceWatch watch("", folder_);
  const fs::path made = Write("made.oomtrace", 0);
  EXPECT_THAT(watch.NewTraces(), ElementsAre(made));
}

TEST_F(TraceFiles, WatchOfAnOutputTakesItsChildrenAndNoStranger) {
  const fs::path output = folder_ / "job.oomtrace";
  const TraceWatch watch(output, folder_);
  const fs::path child = Write("job.4711.oomtrace", 0);
  Write("stranger.oomtrace", 0);
  Write("job.oomtrace", 3);
  EXPECT_THAT(watch.NewTraces(), ElementsAre(output, child));
}

TEST_F(TraceFiles, WatchOfAnOutputThatWasThereTakesTheOnesBesideIt) {
  const fs::path output = Write("job.oomtrace", 3);
  const TraceWatch watch(output, folder_);
  const fs::path made = Write("job.4711.oomtrace", 0);
  EXPECT_THAT(watch.NewTraces(), ElementsAre(made));
}

}  // namespace
}  // namespace oomtrace
