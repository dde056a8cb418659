#include "cli/recorded_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RankReport Process(const std::vector<std::string>& command, const std::string& folder = testing::TempDir()) {
  RankReport process;
  for (const std::string& word : command) process.report.mutable_trace()->add_command(word);
  process.report.mutable_trace()->set_working_directory(folder);
  return process;
}

std::string Problem(const RankReport& process) { return std::string(RecordedCommand(process).status().message()); }

TEST(RecordedCommand, SaysWhatIsNoLongerThere) {
  EXPECT_THAT(Problem(Process({"sh", "x"}, "/no/such/folder")), HasSubstr("/no/such/folder: that folder is not there"));
  EXPECT_THAT(Problem(Process({"/no/such/python", "x.py"})), HasSubstr("there is no /no/such/python"));
  EXPECT_THAT(Problem(Process({})), HasSubstr("no command line"));
}

TEST(RecordedCommand, FindsTheScriptBehindThePythonsOptions) {
  const std::string python = testing::TempDir() + "/python3.11";
  std::ofstream(python) << "#!/bin/sh\n";
  std::filesystem::remove(testing::TempDir() + "/gone_train.py");
  EXPECT_THAT(Problem(Process({python, "-u", "-X", "dev", "gone_train.py"})), HasSubstr("there is no gone_train.py"));
  EXPECT_TRUE(RecordedCommand(Process({python, "-m", "gone_train.py"})).ok());
  std::ofstream(testing::TempDir() + "/gone_train.py") << "\n";
  EXPECT_THAT(*RecordedCommand(Process({python, "gone_train.py"})), ElementsAre(python, "gone_train.py"));
}

TEST(RecordedCommand, OneRankIsNotRunAlone) {
  RankReport process = Process({"/usr/bin/python3", "-u", "train.py", "--lr", "1"});
  process.rank = 1;
  process.world_size = 8;
  process.report.mutable_trace()->add_environment("LOCAL_WORLD_SIZE=4");
  EXPECT_THAT(Problem(process), HasSubstr("torchrun --nproc-per-node=4 train.py --lr 1"));
}

TEST(OptimizerSteps, BackwardPassesAreNone) {
  report::Report report;
  report.set_step_noun("backward pass");
  EXPECT_EQ(OptimizerSteps(report, 31), 0);
  report.set_step_noun("optimizer step");
  EXPECT_EQ(OptimizerSteps(report, 31), 31);
}

TEST(CardsOf, AsManyAsTheJobSaw) {
  RankReport process = Process({"x"});
  EXPECT_EQ(CardsOf(process), 1);
  process.report.mutable_device()->set_index(2);
  EXPECT_EQ(CardsOf(process), 3);
  process.report.mutable_trace()->add_environment("OOMTRACE_SIM_DEVICES=64");
  EXPECT_EQ(CardsOf(process), 16);
}

TEST(ReadProcess, AFolderWithoutTracesIsAnswered) {
  const std::string folder = testing::TempDir() + "/no_traces";
  std::filesystem::create_directories(folder);
  EXPECT_THAT(std::string(ReadProcess(folder).status().message()), HasSubstr("no *.oomtrace file"));
}

}  // namespace
}  // namespace oomtrace
