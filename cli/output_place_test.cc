#include "cli/output_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace oomtrace {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class OutputPlace : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/oomtrace_place_XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name) << content;
    return folder_ / name;
  }

  fs::path folder_;
};

TEST_F(OutputPlace, TracesMoveAsideAndNoneIsLost) {
  const fs::path path = Write("job.oomtrace", "OOMTRACE one");
  ASSERT_TRUE(PrepareOutput(path).ok());
  EXPECT_FALSE(fs::exists(path));
  Write("job.oomtrace", "OOMTRACE another");
  EXPECT_THAT(PrepareOutput(path).value(), HasSubstr(folder_.string() + "/job."));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

TEST_F(OutputPlace, NothingButATraceIsMoved) {
  for (const char* content : {"years of work", ""}) {
    const fs::path other = Write("thesis.tex", content);
    EXPECT_EQ(PrepareOutput(other).status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_TRUE(fs::exists(other));
  }
  const fs::path trace = Write("job.oomtrace", "OOMTRACE one");
  fs::create_symlink(trace, folder_ / "link.oomtrace");
  EXPECT_EQ(PrepareOutput(folder_ / "link.oomtrace").status().code(), absl::StatusCode::kAlreadyExists);
  fs::create_symlink(folder_ / "nowhere", folder_ / "dangling.oomtrace");
  EXPECT_EQ(PrepareOutput(folder_ / "dangling.oomtrace").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(PrepareOutput(folder_).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(OutputPlace, AFolderMustBeThere) {
  EXPECT_EQ(PrepareOutput(folder_ / "no" / "x.oomtrace").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PrepareOutput(folder_ / "new.oomtrace").value(), "");
}

}  // namespace
}  // namespace oomtrace
