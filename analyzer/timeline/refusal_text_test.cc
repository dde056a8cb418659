#include "analyzer/timeline/refusal_text.h"

#include <gtest/gtest.h>

namespace oomtrace {
namespace {

constexpr double kGiB = 1073741824;

// As PyTorch 2.11 and 2.13 word them.
TEST(RefusalText, FindsTheLimitOfTheCachingAllocator) {
  EXPECT_EQ(
      LimitIn("CUDA out of memory. Tried to allocate 996.00 MiB. GPU 0 has a total capacity of 44.43 GiB of which "
              "9.06 GiB is free. Including non-PyTorch memory, this process has 17.81 GiB memory in use. 17.69 GiB "
              "allowed; Of the allocated memory 17.44 GiB is allocated by PyTorch"),
      static_cast<int64_t>(17.69 * kGiB + 0.5));
  EXPECT_EQ(LimitIn("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 11.69 GiB of which "
                    "1.00 GiB is free. Of the allocated memory 9.00 GiB is allocated by PyTorch"),
            0);
}

TEST(RefusalText, FindsTheLimitOfCudaMallocAsync) {
  EXPECT_EQ(
      LimitIn("Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated     : 1.00 "
              "GiB\nRequested               : 3.00 GiB\nDevice limit            : 11.69 GiB\nFree (according to "
              "CUDA): 9.50 GiB\nPyTorch limit (set by user-supplied memory fraction)\n                        : "
              "2.50 GiB"),
      static_cast<int64_t>(2.5 * kGiB));
  EXPECT_EQ(
      LimitIn("Allocation on device 0 would exceed allowed memory. (out of memory)\nDevice limit            : 11.69 "
              "GiB\nPyTorch limit (set by user-supplied memory fraction)\n                        : 17179869184.00 "
              "GiB"),
      0);
}

TEST(RefusalText, FindsWhatIsIdleInPrivatePools) {
  EXPECT_EQ(
      PrivatePoolsIn("CUDA out of memory. Of the allocated memory 1.00 GiB is allocated by PyTorch, with 5.00 GiB "
                     "allocated in private pools (e.g., CUDA Graphs), and 1.00 MiB is reserved by PyTorch"),
      static_cast<int64_t>(5 * kGiB));
  EXPECT_EQ(PrivatePoolsIn("Of the allocated memory 9.00 GiB is allocated by PyTorch, and 1.00 MiB is reserved"), 0);
  EXPECT_EQ(PrivatePoolsIn("Allocation on device 0 would exceed allowed memory."), -1);
}

TEST(RefusalText, SurvivesAnyText) {
  for (const char* text : {"", " allowed; ", "x allowed; ", "1 allowed; ", "GiB allowed; ", "nan GiB allowed; ",
                           "-1 GiB allowed; ", "1e400 GiB allowed; ", "would exceed memory limit (",
                           "PyTorch limit (set by user-supplied memory fraction)\n :"})
    EXPECT_EQ(LimitIn(text), 0) << text;
}

}  // namespace
}  // namespace oomtrace
