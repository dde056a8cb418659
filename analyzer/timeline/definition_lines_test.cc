#include "analyzer/timeline/definition_lines.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace oomtrace {
namespace {

class DefinitionLines : public ::testing::Test {
 protected:
  DefinitionLines() {
    std::ofstream(path_) << "@first\n"                        // 1
                            "@second(\n"                      // 2
                            "    option=1)\n"                 // 3
                            "def work(x):\n"                  // 4
                            "    return x\n"                  // 5
                            "class Net:\n"                    // 6
                            "    @compile\n"                  // 7
                            "    async def forward(self):\n"  // 8
                            "        return 1\n"              // 9
                            "@decorator\n"                    // 10
                            "class Other: pass\n";            // 11
  }
  ~DefinitionLines() override { std::filesystem::remove(path_); }

  int64_t Line(const std::string& function, int64_t line, int64_t recorded = std::numeric_limits<int64_t>::max()) {
    std::vector<Frame> frames = {{path_, function, line}};
    MoveToDefinitions(recorded, &frames);
    return frames[0].line;
  }

  const std::string path_ =
      (std::filesystem::temp_directory_path() / ("definitions." + std::to_string(getpid()) + ".py")).string();
};

TEST_F(DefinitionLines, AFrameAtItsDecoratorIsMovedToTheDefinition) {
  EXPECT_EQ(Line("work", 1), 4);
  EXPECT_EQ(Line("work", 2), 4);
  EXPECT_EQ(Line("Net.forward", 7), 8);
}

TEST_F(DefinitionLines, OtherLinesAndOtherFunctionsStay) {
  EXPECT_EQ(Line("work", 5), 5);
  EXPECT_EQ(Line("<module>", 1), 1) << "this code runs the decorator";
  EXPECT_EQ(Line("outer", 1), 1);
  EXPECT_EQ(Line("forward", 10), 10);
  EXPECT_EQ(Line("work", 99), 99);
}

TEST_F(DefinitionLines, ASourceThatChangedSinceIsNotAsked) { EXPECT_EQ(Line("work", 1, 1), 1); }

TEST_F(DefinitionLines, AFileThatIsGoneIsNoError) {
  std::vector<Frame> frames = {{"/no/such/file.py", "work", 1}};
  MoveToDefinitions(std::numeric_limits<int64_t>::max(), &frames);
  EXPECT_EQ(frames[0].line, 1);
}

}  // namespace
}  // namespace oomtrace
