#include "analyzer/job/compare.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// What differs by less than this share of the card explains no death.
constexpr int64_t kWorth = 50;
// Of parameters, activations and inputs: what differs by less is what ranks differ by anyway.
constexpr double kMore = 1.1;

using report::Categories;
using report::Report;
using Ranks = std::vector<const RankReport*>;

// How far a step is, by its phase; 0: it has not begun its forward pass.
int Progress(std::string_view phase) {
  if (phase == "forward") return 1;
  if (phase == "backward") return 2;
  if (phase == "optimizer_step") return 3;
  return 0;
}

// The moment that a report describes: of the death, else of the peak.
struct Point {
  int64_t step = 0;
  std::string phase;
  std::string place;  // of a death: file, line, module
};

Point PointOf(const Report& r) {
  if (!r.out_of_memory().happened()) return {r.peak().step(), r.peak().phase(), ""};
  const report::Culprit& culprit = r.culprit();
  return {r.out_of_memory().step(), r.out_of_memory().phase(),
          absl::StrCat(culprit.file(), ":", culprit.line(), " ", culprit.module())};
}

// Whether the trace shows a pass over a batch as far as `worst` was in its last one.
bool CameAsFar(const Report& r, const Report& worst) {
  const Point here = PointOf(worst), there = PointOf(r);
  if (r.steps_completed() != here.step) return r.steps_completed() > here.step;
  if (!r.out_of_memory().happened()) return here.step > 0 || Progress(there.phase) >= Progress(here.phase);
  const bool same_place = there.place == here.place && there.phase == here.phase;
  return same_place || Progress(there.phase) > Progress(here.phase);
}

std::string Describe(const Report& r) {
  const Point point = PointOf(r);
  const std::string phase = Progress(point.phase) > 0 ? absl::StrCat(point.phase, " of ") : "";
  if (!r.out_of_memory().happened()) return absl::StrCat(Count(r.steps_completed(), "step"), " done");
  return absl::StrCat("died in ", phase, "step ", point.step + 1);
}

// The most of it at the moment of the report and at the peaks before.
template <typename Of>
int64_t Most(const Report& r, Of of) {
  int64_t most = of(r.categories());
  for (const report::HighPeak& peak : r.peaks()) most = std::max(most, of(peak.categories()));
  return most;
}

class Comparer {
 public:
  Comparer(const Ranks& ranks, const RankReport& worst) : worst_(worst) {
    for (const RankReport* r : ranks) {
      if (r == &worst) continue;
      others_.push_back(r);
      (CameAsFar(r->report, worst.report) ? as_far_ : behind_).push_back(r);
    }
  }

  Comparison Run() {
    SayCard();
    Compare(others_, "Other processes hold", "", [](const Report& r) { return r.device().other_processes(); });
    SayOfTheModel();
    SayLeak();
    SayOfTheBatch();
    Compare(as_far_, "Device memory outside of PyTorch takes", "", [](const Report& r) { return r.device().other(); });
    Compare(as_far_, "PyTorch's cache holds, unused,", "", [](const Report& r) { return r.device().cache(); });
    SayWhoIsBehind();
    if (out_.reasons.empty() && worst_.report.out_of_memory().happened()) SayNothingDiffers();
    return std::move(out_);
  }

 private:
  template <typename Of>
  static int64_t MedianOf(const Ranks& ranks, Of of) {
    std::vector<int64_t> values;
    for (const RankReport* r : ranks) values.push_back(of(r->report));
    return Median(values);
  }

  // `bound`: "" or "at most ", of what the others had.
  template <typename Here, typename There>
  void Compare(const Ranks& others, const char* what, const char* bound, Here of_worst, There of_other) {
    if (others.empty()) return;
    const int64_t here = of_worst(worst_.report), elsewhere = MedianOf(others, of_other);
    const bool more = static_cast<double>(here) > kMore * static_cast<double>(elsewhere);
    if (!more || (here - elsewhere) * kWorth < worst_.report.device().total()) return;
    out_.reasons.push_back(absl::StrCat(
        what, " ", Bytes(here), " on ", RankName(worst_), ", ", bound, Bytes(elsewhere), " on ",
        others.size() < others_.size() ? "the median of those that came as far." : "the median of the others."));
  }
  template <typename Of>
  void Compare(const Ranks& others, const char* what, const char* bound, Of of) {
    Compare(others, what, bound, of, of);
  }
  // Of what comes and goes.
  template <typename Of>
  void CompareMost(const Ranks& others, const char* what, Of of) {
    Compare(
        others, what, "at most ", [&](const Report& r) { return of(r.categories()); },
        [&](const Report& r) { return Most(r, of); });
  }

  void SayCard() {
    const int64_t total = worst_.report.device().total();
    const int64_t elsewhere = MedianOf(others_, [](const Report& r) { return r.device().total(); });
    if (elsewhere > total + total / kWorth)
      out_.reasons.push_back(
          absl::StrCat("Its card has ", Bytes(total), ", the median of the others ", Bytes(elsewhere), "."));
  }

  void SayOfTheModel() {
    Ranks built, stepped;
    std::copy_if(others_.begin(), others_.end(), std::back_inserter(built),
                 [](const RankReport* r) { return PointOf(r->report).phase != "set_up"; });
    std::copy_if(others_.begin(), others_.end(), std::back_inserter(stepped), [this](const RankReport* r) {
      return r->report.steps_completed() > 0 || worst_.report.steps_completed() == 0;
    });
    CompareMost(built, "Parameters take", [](const Categories& c) { return c.parameter(); });
    CompareMost(stepped, "The optimizer's states take", [](const Categories& c) { return c.optimizer_state(); });
  }

  void SayLeak() {
    const auto slope = [](const Report& r) { return r.leak().bytes_per_step(); };
    const int64_t here = slope(worst_.report), elsewhere = MedianOf(others_, slope);
    if (here <= 0 || static_cast<double>(here) <= kMore * static_cast<double>(elsewhere)) return;
    out_.reasons.push_back(absl::StrCat("Memory grows by ", Bytes(here), " a step on ", RankName(worst_), " (",
                                        worst_.report.leak().site(), "), by ", Bytes(elsewhere),
                                        " on the median of the others."));
  }

  void SayOfTheBatch() {
    CompareMost(as_far_, "Inputs take", [](const Categories& c) { return c.input(); });
    CompareMost(as_far_, "Activations take (of larger batches or longer sequences)",
                [](const Categories& c) { return c.activation(); });
  }

  void SayWhoIsBehind() {
    if (behind_.empty()) return;
    std::vector<std::string> points;
    for (const RankReport* r : behind_) points.push_back(absl::StrCat(RankName(*r), " (", Describe(r->report), ")"));
    out_.notes.push_back(absl::StrCat("What lives within a step is not compared with ", absl::StrJoin(points, ", "),
                                      ": the trace does not show a pass as far as that of ", RankName(worst_), " (",
                                      Describe(worst_.report), ")."));
  }

  void SayNothingDiffers() {
    const std::string who = RankName(worst_);
    out_.reasons.push_back(
        as_far_.empty()
            ? absl::StrCat("Whether ", who, " needed more than the others cannot be told: none came as far.")
            : absl::StrCat("Nothing in these traces tells ", who,
                           " from the others: they need about as much, and it asked first."));
  }

  const RankReport& worst_;
  Ranks others_, as_far_, behind_;
  Comparison out_;
};

}  // namespace

int64_t Median(std::vector<int64_t> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string RankName(const RankReport& rank) { return absl::StrCat("rank ", rank.rank); }

Comparison CompareRanks(const std::vector<const RankReport*>& ranks, const RankReport& worst) {
  return Comparer(ranks, worst).Run();
}

}  // namespace oomtrace
