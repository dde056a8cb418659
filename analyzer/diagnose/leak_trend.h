// The trend of what one statement keeps from boundary to boundary.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/rises.h"

namespace oomtrace {

using BatchGrowthSince = std::function<double(int64_t boundary)>;

// A tensor that lived at a boundary.
struct Member {
  int64_t first = 0;  // first and one past the last boundary at which it was alive
  int64_t last = 0;
  uint32_t tensor = 0;  // index into Timeline::tensors
};

class LeakTrend {
 public:
  // `members`: of one statement, in order of birth. `boundaries`: their times; outlives this.
  LeakTrend(const Timeline& timeline, std::vector<Member> members, const std::vector<int64_t>& boundaries, bool died);

  // Whether many are held for a while and let go.
  bool IsQueue() const;

  // Fills `group` and returns true where tensors stay and new ones come.
  bool FitStaying(LeakGroup* group);

  // The same where none needs to stay: a tensor that a larger one replaces (`bank = torch.cat([bank, new])`), a list
  // that is made anew with one more entry, a queue into which more goes than comes out. `batch_growth`: of the batches
  // from a boundary on, how many times as large those of the last third are as those of the first, 1 where they stay as
  // they are; what follows them is none.
  bool FitRenewed(const BatchGrowthSince& batch_growth, LeakGroup* group);

 private:
  std::vector<Change> Births();
  std::vector<Change> LastingRises() const;
  bool AreOwned() const;
  bool IsFolded(int64_t boundary) const;
  bool IsPartlyKnown(int64_t boundary) const { return boundary < partly_known_; }
  int64_t Asked(const Tensor& tensor) const;
  int64_t LiveAt(int64_t boundary) const;
  bool WasAsHighBefore(int64_t start, int64_t growth) const;
  bool IsNew(int64_t boundary) const;
  bool FollowsBatch(int64_t start, double batch_growth) const;
  void ForgetPartlyKnown();
  int64_t DeepestFall() const;
  bool PickExample();
  void FillTotal(const Rises& rises, LeakGroup* group) const;
  void BuildLevels(bool asked, bool survivors_only);
  const Change* At(int64_t boundary) const;
  int64_t LevelAt(int64_t boundary) const { return At(boundary) ? At(boundary)->bytes : 0; }
  int64_t CountAt(int64_t boundary) const { return At(boundary) ? At(boundary)->tensors : 0; }

  const Timeline& timeline_;
  std::vector<Member> members_;
  const std::vector<int64_t>& boundaries_;
  int64_t last_;
  int64_t partly_known_;  // boundaries before which not all that was freed is on record
  bool died_;
  uint32_t example_ = 0;
  std::vector<Change> levels_;  // what lived at each boundary at which that changed
};

}  // namespace oomtrace
