#include "cli/search.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/status/status.h"

namespace oomtrace {
namespace {

TEST(SearchLargest, FindsEveryBoundaryAndProvesIt) {
  for (int64_t first : {1, 3, 40}) {
    for (int64_t last : {first, first + 2, int64_t{64}, int64_t{100}}) {
      for (int64_t boundary = first - 1; boundary <= last; ++boundary) {
        Tried tried;
        int trials = 0;
        const absl::Status status = SearchLargest(
            first, last,
            [&](int64_t value) {
              ++trials;
              EXPECT_TRUE(value >= first && value <= last && !tried.contains(value)) << value;
              return value <= boundary;
            },
            tried);
        ASSERT_TRUE(status.ok());
        const auto largest = LargestThatFits(tried);
        EXPECT_EQ(largest.value_or(first - 1), boundary) << first << ".." << last;
        if (boundary < last) {
          EXPECT_FALSE(tried.at(boundary + 1));
        }
        EXPECT_FALSE(NotMonotone(tried));
        EXPECT_LE(trials, 13);
      }
    }
  }
}

TEST(SearchLargest, BeginsInTheMiddleOfThePowers) {
  std::vector<int64_t> order;
  Tried tried;
  ASSERT_TRUE(SearchLargest(
                  1, 256,
                  [&](int64_t value) {
                    order.push_back(value);
                    return value <= 5;
                  },
                  tried)
                  .ok());
  EXPECT_EQ(order, (std::vector<int64_t>{16, 8, 4, 6, 5, 7}));
}

TEST(SearchLargest, GoesOnFromWhatIsKnown) {
  Tried tried = {{16, true}, {32, false}};
  ASSERT_TRUE(SearchLargest(
                  1, 256, [](int64_t value) { return value < 20; }, tried)
                  .ok());
  EXPECT_EQ(LargestThatFits(tried), 19);
}

TEST(SearchLargest, AnErrorEndsIt) {
  Tried tried;
  const absl::Status status = SearchLargest(
      1, 100,
      [](int64_t value) -> absl::StatusOr<bool> {
        if (value > 10) return absl::InternalError("exploded");
        return true;
      },
      tried);
  EXPECT_EQ(status.message(), "exploded");
  EXPECT_EQ(tried, (Tried{{8, true}}));
}

TEST(SearchLargest, GoesOnWhereTheTrialsAreNotMonotone) {
  Tried tried;
  ASSERT_TRUE(SearchLargest(
                  1, 64, [](int64_t value) { return value <= 11 || value == 13; }, tried)
                  .ok());
  EXPECT_EQ(NotMonotone(tried), (std::pair<int64_t, int64_t>(12, 13)));
  EXPECT_EQ(LargestThatFits(tried), 13);
  EXPECT_FALSE(tried.at(14));
}

// Whatever fits, the answer was tried and the value above it did not fit.
TEST(SearchLargest, ProvesWhatItSaysOfAnything) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const int64_t last = 1 + static_cast<int64_t>(random() % 60);
    std::vector<bool> fits(static_cast<size_t>(last) + 1);
    for (size_t k = 0; k < fits.size(); ++k) fits[k] = random() % 3 != 0;
    Tried tried;
    ASSERT_TRUE(SearchLargest(
                    1, last, [&](int64_t v) -> bool { return fits[static_cast<size_t>(v)]; }, tried)
                    .ok());
    const auto largest = LargestThatFits(tried);
    if (largest && *largest < last) {
      EXPECT_FALSE(tried.at(*largest + 1));
    }
    if (!largest) {
      EXPECT_FALSE(tried.at(1));
    }
  }
}

TEST(LargestBelowFailure, StopsAtTheFirst) {
  EXPECT_EQ(LargestBelowFailure({{4, true}, {7, true}, {8, false}, {9, true}}), 7);
  EXPECT_EQ(LargestBelowFailure({{4, true}}), 4);
  EXPECT_EQ(LargestBelowFailure({{4, false}, {5, true}}), std::nullopt);
}

TEST(NotMonotone, NamesTheValues) {
  EXPECT_FALSE(NotMonotone({{1, true}, {2, true}, {4, false}}));
  EXPECT_EQ(NotMonotone({{1, true}, {2, false}, {3, true}}), (std::pair<int64_t, int64_t>(2, 3)));
  EXPECT_FALSE(NotMonotone({}));
}

}  // namespace
}  // namespace oomtrace
