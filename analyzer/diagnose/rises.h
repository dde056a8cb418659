// Additions to what one statement keeps, one after the other, and whether they go on like a leak's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace oomtrace {

// What was added, or changed, between one boundary and the one before. Boundaries are counted from 0.
struct Change {
  int64_t boundary = 0;
  int64_t bytes = 0;
  int64_t tensors = 0;
};

// What the trend of the additions has to be measured by.
struct RisesRules {
  int64_t last = 0;    // the last boundary
  int64_t fewest = 3;  // additions that show a trend
  bool died = false;   // of memory, after the last boundary
};

class Rises {
 public:
  // `all`: in order of their boundaries.
  Rises(std::vector<Change> all, const RisesRules& rules) : all_(std::move(all)), rules_(rules) {}

  // Finds the additions at the end of the list that come at like distances, are alike in size and go on to the last
  // boundary. False: there are none.
  bool FindTail();

  // Of the tail, once it is found.
  const Change& first() const { return all_[tail_]; }
  const Change& last() const { return all_.back(); }
  int64_t count() const { return static_cast<int64_t>(all_.size() - tail_); }
  int64_t added_behind_first() const;
  int64_t median() const;

 private:
  // As many additions, or as many bytes, in each third of the time.
  struct Thirds {
    std::array<double, 3> births{};
    std::array<double, 3> bytes{};
    double largest = 0;
  };
  Thirds InThirds() const;
  bool AreAlike() const;
  bool GrowRarer() const;
  bool GoOn() const;
  bool AreABurst(int64_t pause) const;
  std::vector<Change>::const_iterator Tail() const { return all_.begin() + static_cast<ptrdiff_t>(tail_); }

  std::vector<Change> all_;
  RisesRules rules_;
  size_t tail_ = 0;
};

}  // namespace oomtrace
