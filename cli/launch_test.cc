#include "cli/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace oomtrace {
namespace {

Outcome LaunchShell(const std::string& script) {
  const auto outcome = Launch({"sh", "-c", script}, Environment::Inherited());
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? *outcome : Outcome{};
}

TEST(Launch, PassesTheExitStatus) {
  EXPECT_EQ(LaunchShell("exit 0").exit_status, 0);
  EXPECT_EQ(LaunchShell("exit 41").exit_status, 41);
  EXPECT_EQ(LaunchShell("exit 41").signal, 0);
}

TEST(Launch, TellsADeathBySignal) {
  const Outcome outcome = LaunchShell("kill -KILL $$");
  EXPECT_EQ(outcome.signal, SIGKILL);
  EXPECT_EQ(outcome.exit_status, 137);
}

TEST(Launch, GivesTheCommandItsEnvironment) {
  Environment environment = Environment::Inherited();
  environment.Set("OOMTRACE_TEST_STATUS", "23");
  EXPECT_EQ(Launch({"sh", "-c", "exit $OOMTRACE_TEST_STATUS"}, environment)->exit_status, 23);
}

TEST(Launch, UnknownCommandIsNotFound) {
  EXPECT_EQ(Launch({"oomtrace-no-such-command"}, Environment::Inherited()).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Launch({"/no/such/file"}, Environment::Inherited()).status().code(), absl::StatusCode::kNotFound);
}

TEST(Launch, AFileThatIsNoProgramCannotBeExecuted) {
  const std::string path = testing::TempDir() + "/oomtrace_not_executable";
  std::ofstream(path) << "text\n";
  EXPECT_EQ(Launch({path}, Environment::Inherited()).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Launch({"/"}, Environment::Inherited()).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(Launch, RunsAScriptWithoutItsFirstLineAsShellsDo) {
  const std::string path = testing::TempDir() + "/oomtrace_plain_script";
  std::ofstream(path) << "exit $1\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  EXPECT_EQ(Launch({path, "9"}, Environment::Inherited())->exit_status, 9);
}

TEST(Launch, ForwardsASignalSentToOurselvesAlone) {
  // The command answers SIGUSR1 by ending with 5; a helper sends the signal to this test's process only. A handler:
  // a late signal must not end the test.
  signal(SIGUSR1, [](int) {});
  const pid_t self = getpid();
  const pid_t helper = fork();
  if (helper == 0) {
    usleep(300'000);
    for (int i = 0; i < 20 && kill(self, SIGUSR1) == 0; ++i) usleep(100'000);
    _exit(0);
  }
  const auto outcome =
      Launch({"bash", "-c", "trap 'exit 5' USR1; for i in $(seq 100); do sleep 0.1; done"}, Environment::Inherited());
  kill(helper, SIGKILL);
  waitpid(helper, nullptr, 0);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->exit_status, 5);
}

TEST(Launch, WorksUnderAParentThatIgnoresSigchld) {
  signal(SIGCHLD, SIG_IGN);
  EXPECT_EQ(LaunchShell("exit 6").exit_status, 6);
  signal(SIGCHLD, SIG_DFL);
}

TEST(Launch, LeavesTheSignalMaskAsItWas) {
  sigset_t before;
  sigset_t after;
  sigprocmask(SIG_BLOCK, nullptr, &before);
  LaunchShell("true");
  sigprocmask(SIG_BLOCK, nullptr, &after);
  for (int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
  }
}

TEST(Capture, GivesWhatWasPrinted) {
  EXPECT_EQ(*Capture({"sh", "-c", "echo out; echo err >&2"}, Environment::Inherited()), "out\n");
  EXPECT_FALSE(Capture({"sh", "-c", "exit 3"}, Environment::Inherited()).ok());
  EXPECT_FALSE(Capture({"oomtrace-no-such-command"}, Environment::Inherited()).ok());
}

}  // namespace
}  // namespace oomtrace
