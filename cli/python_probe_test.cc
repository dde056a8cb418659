#include "cli/python_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace oomtrace {
namespace {

using ::testing::HasSubstr;

std::string WriteScript(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << content;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(InterpreterOf, ReadsTheFirstLineOfAScript) {
  const Environment environment = Environment::Inherited();
  EXPECT_EQ(InterpreterOf(WriteScript("oomtrace_launcher", "#!/opt/env/bin/python3.11\nimport x\n"), environment),
            "/opt/env/bin/python3.11");
  EXPECT_EQ(InterpreterOf(WriteScript("oomtrace_shell", "#!/bin/sh\n"), environment), "");
  EXPECT_EQ(InterpreterOf("oomtrace-no-such-command", environment), "");
}

TEST(InterpreterOf, FollowsEnv) {
  Environment environment = Environment::Inherited();
  const std::string python = WriteScript("python-of-test", "");
  environment.Set("PATH", testing::TempDir());
  const std::string found = InterpreterOf(WriteScript("oomtrace_env", "#!/usr/bin/env python-of-test\n"), environment);
  EXPECT_TRUE(std::filesystem::equivalent(found, python)) << found;
}

TEST(ProbePython, AProgramThatIsNoPythonIsNothing) {
  EXPECT_FALSE(ProbePython("/bin/false", Environment::Inherited()).has_value());
}

TEST(TorchProblem, NamesWhatIsMissing) {
  EXPECT_THAT(TorchProblem({"/usr/bin/python3", "3.11.2", "", ""}), HasSubstr("has no PyTorch"));
  EXPECT_THAT(TorchProblem({"/usr/bin/python3", "3.11.2", "2.11.0+cpu", ""}), HasSubstr("without CUDA"));
  EXPECT_EQ(TorchProblem({"/usr/bin/python3", "3.11.2", "2.11.0+cu130", "13.0"}), "");
}

}  // namespace
}  // namespace oomtrace
