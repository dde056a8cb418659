#include "cli/python_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;

TEST(PythonCommand, ScriptWithOptions) {
  const auto python = ParsePythonCommand({"/usr/bin/python3.11", "-uB", "-X", "dev", "a/train.py", "-m", "--bs=4"});
  ASSERT_TRUE(python);
  EXPECT_THAT(python->interpreter, ElementsAre("/usr/bin/python3.11", "-uB", "-X", "dev"));
  EXPECT_EQ(python->script, "a/train.py");
  EXPECT_EQ(python->module, "");
  EXPECT_THAT(python->arguments, ElementsAre("-m", "--bs=4"));
}

TEST(PythonCommand, Module) {
  const auto python = ParsePythonCommand({"python", "-m", "pkg.train", "x"});
  ASSERT_TRUE(python);
  EXPECT_EQ(python->module, "pkg.train");
  EXPECT_THAT(python->arguments, ElementsAre("x"));
}

TEST(PythonCommand, WhatItLeavesAlone) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{},
                                             {"torchrun", "train.py"},
                                             {"pythonw-like", "train.py"},
                                             {"python"},
                                             {"python", "-c", "print(1)"},
                                             {"python", "-"},
                                             {"python", "-I", "train.py"},
                                             {"python", "-P", "train.py"},
                                             {"python", "-E", "train.py"},
                                             {"python", "--version"},
                                             {"python", "-m"},
                                             {"python", ""},
                                             {"bash", "-c", "python train.py"}})
    EXPECT_FALSE(ParsePythonCommand(command)) << testing::PrintToString(command);
}

}  // namespace
}  // namespace oomtrace
