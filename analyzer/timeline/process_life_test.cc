#include "analyzer/timeline/process_life.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace oomtrace {
namespace {

// As the recorder would describe `pid`.
trace::Process Describe(pid_t pid) {
  trace::Process process;
  process.set_pid(static_cast<uint32_t>(pid));
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  process.set_boot(boot);
  process.set_pid_namespace(std::filesystem::read_symlink("/proc/self/ns/pid").string());
  std::string stat;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), stat);
  std::istringstream words(stat.substr(stat.rfind(')') + 1));
  std::string word;
  for (int i = 0; i < 20; ++i) words >> word;
  process.set_started(std::stoull(word));
  return process;
}

TEST(ProcessLife, OfAChild) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const trace::Process process = Describe(child);
  EXPECT_EQ(LifeOf(process), ProcessLife::kRunning);
  kill(child, SIGKILL);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(LifeOf(process), ProcessLife::kGone);  // dead, and nobody has waited for it
  waitpid(child, nullptr, 0);
  EXPECT_EQ(LifeOf(process), ProcessLife::kGone);
}

TEST(ProcessLife, AnotherProcessWithTheNumberIsNotIt) {
  trace::Process process = Describe(getpid());
  ASSERT_EQ(LifeOf(process), ProcessLife::kRunning);
  process.set_started(process.started() + 1);
  EXPECT_EQ(LifeOf(process), ProcessLife::kGone);
}

TEST(ProcessLife, OfAnotherBootOrNamespaceNothingIsKnown) {
  trace::Process process = Describe(getpid());
  process.set_boot("another");
  EXPECT_EQ(LifeOf(process), ProcessLife::kUnknown);
  process = Describe(getpid());
  process.set_pid_namespace("pid:[1]");
  EXPECT_EQ(LifeOf(process), ProcessLife::kUnknown);
  EXPECT_EQ(LifeOf(trace::Process()), ProcessLife::kUnknown);
}

}  // namespace
}  // namespace oomtrace
