#include "cli/recorded_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RecordedEnvironment, TheJobsVariablesComeBackAndOthersGo) {
  report::Trace trace;
  trace.add_environment("PYTORCH_CUDA_ALLOC_CONF=a:1=2");
  trace.add_environment("CUDA_LAUNCH_BLOCKING=1");
  trace.add_environment("RANK=3");
  trace.add_environment("OOMTRACE_FILE=/old/job.oomtrace");
  Environment environment;
  environment.Set("CUDA_LAUNCH_BLOCKING", "1");
  environment.Set("CUBLAS_WORKSPACE_CONFIG", ":16:8");
  environment.Set("CUDA_VISIBLE_DEVICES", "7");
  environment.Set("HOME", "/home/me");
  const Restored restored = RestoreRecorded(trace, environment);
  EXPECT_THAT(environment.Lines(),
              ElementsAre("CUDA_LAUNCH_BLOCKING=1", "HOME=/home/me", "PYTORCH_CUDA_ALLOC_CONF=a:1=2"));
  EXPECT_THAT(restored.set, ElementsAre("PYTORCH_CUDA_ALLOC_CONF=a:1=2"));
  EXPECT_THAT(restored.unset, ElementsAre("CUBLAS_WORKSPACE_CONFIG"));
  EXPECT_THAT(RestoreRecorded(trace, environment).set, IsEmpty());
}

}  // namespace
}  // namespace oomtrace
