#include "analyzer/diagnose/likes.h"

#include <gtest/gtest.h>

namespace oomtrace {
namespace {

using Indices = std::vector<uint32_t>;

// Of each step the numbers of tensors that the statement made.
Timeline Made(const std::vector<int>& steps) {
  Timeline timeline;
  for (size_t step = 0; step < steps.size(); ++step) {
    for (int i = 0; i < steps[step]; ++i) {
      Tensor tensor;
      tensor.stack = 1;
      tensor.layout = 1;
      tensor.step = static_cast<int64_t>(step);
      tensor.born = static_cast<int64_t>(10 * step + 1);
      timeline.tensors.push_back(tensor);
    }
  }
  return timeline;
}

TEST(Likes, TheSecondOfAStepIsLikeTheSecondOfAnother) {
  const Timeline timeline = Made({2, 2});
  const Likes likes(timeline, {0, 100});
  EXPECT_EQ(likes.In(0, 3), (Indices{1}));
  EXPECT_EQ(likes.In(0, 2), (Indices{0}));
  EXPECT_EQ(likes.last_step(), 1);
}

TEST(Likes, OfAnotherNumberEachMayBe) {
  const Timeline timeline = Made({3, 2, 2});
  const Likes likes(timeline, {0, 100});
  EXPECT_EQ(likes.In(0, 4), (Indices{0, 1, 2}));
  EXPECT_EQ(likes.In(0, 6), (Indices{1})) << "the last step may have been cut off by the window's end";
}

TEST(Likes, WhatIsOlderThanTheWindowHasNone) {
  const Timeline timeline = Made({1, 0, 1});
  const Likes likes(timeline, {5, 100});
  EXPECT_EQ(likes.In(1, 0), Indices());
  EXPECT_EQ(likes.In(1, 1), Indices());
  EXPECT_EQ(likes.In(0, 1), Indices());
}

}  // namespace
}  // namespace oomtrace
