#include "analyzer/job/job.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/job/compare.h"

namespace oomtrace {
namespace {

bool Died(const RankReport& r) { return r.death >= 0; }
bool EndedWell(const RankReport& r) { return r.report.trace().ended() == "exit 0"; }
bool MayRun(const RankReport& r) { return absl::StrContains(r.report.trace().ended(), "still running"); }
// A process that was killed leaves no word of when: its last event is no end.
bool EndIsKnown(const RankReport& r) { return absl::StartsWith(r.report.trace().ended(), "exit "); }
std::string Seconds(int64_t ns) { return absl::StrFormat("%.1f s", static_cast<double>(ns) / 1e9); }

class Merger {
 public:
  explicit Merger(const std::vector<RankReport>& reports) {
    for (const RankReport& r : reports) ranks_.push_back(&r);
    std::sort(ranks_.begin(), ranks_.end(), [](const auto* a, const auto* b) { return a->rank < b->rank; });
  }

  report::Job Merge() {
    job_.set_world_size(ranks_.front()->world_size);
    FindFirst();
    std::vector<int64_t> peaks;
    for (const RankReport* r : ranks_) peaks.push_back(r->report.peak().bytes());
    const int64_t median = Median(peaks);
    for (const RankReport* r : ranks_) {
      report::JobRank* out = job_.add_ranks();
      out->set_rank(r->rank);
      out->set_host(r->host);
      out->set_path(r->report.trace().path());
      out->set_pattern(r->report.pattern());
      out->set_ended(r->report.trace().ended());
      out->set_end_unix_ns(r->end());
      out->set_peak(r->report.peak().bytes());
      out->set_reserved(r->report.peak().reserved());
      out->set_device_total(r->report.device().total());
      out->set_of_median(median > 0 ? static_cast<double>(out->peak()) / static_cast<double>(median) : 0);
      SetRole(*r, out);
    }
    SayWhy();
    SayWhatIsMissing();
    job_.set_summary(Summary());
    return std::move(job_);
  }

 private:
  void FindFirst() {
    std::set<std::string> hosts;
    for (const RankReport* r : ranks_) {
      if (!Died(*r)) continue;
      hosts.insert(r->host);
      if (first_ == nullptr || r->end() < first_->end()) first_ = r;
    }
    job_.set_first_rank(first_ == nullptr ? -1 : first_->rank);
    job_.set_certain(hosts.size() == 1);
    if (hosts.size() > 1)
      job_.add_notes(absl::StrCat("Ranks of ", hosts.size(),
                                  " hosts ran out of memory, and clocks of different hosts are not compared: by their "
                                  "own clocks ",
                                  RankName(*first_), " was the first."));
  }

  bool SameHost(const RankReport& r) const { return r.host == first_->host; }

  void SetRole(const RankReport& r, report::JobRank* out) {
    if (&r == first_) {
      out->set_role("cause");
      out->set_fate(ranks_.size() > 1 && job_.certain() ? "ran out of memory first" : "ran out of memory");
    } else if (Died(r)) {
      out->set_role("out_of_memory");
      out->set_fate(SameHost(r) ? absl::StrCat("ran out of memory, too, ", Seconds(r.end() - first_->end()), " later")
                                : "ran out of memory, too");
    } else if (EndedWell(r)) {
      out->set_role("ended");
      out->set_fate("ended well");
    } else if (first_ == nullptr) {
      out->set_role("ended");
      out->set_fate(MayRun(r) ? "still runs, or was killed" : "ended without an out-of-memory error");
    } else if (!SameHost(r)) {
      out->set_role("victim");
      out->set_fate("did not run out of memory; whether it ended before or after is not known: another host");
    } else if (r.end() >= first_->end()) {
      out->set_role("victim");
      out->set_fate(absl::StrCat("did not run out of memory: it ended ", Seconds(r.end() - first_->end()), " after ",
                                 RankName(*first_), " did"));
    } else if (!EndIsKnown(r)) {
      out->set_role("victim");
      out->set_fate("did not run out of memory: its last event came before, what it waited for leaves none");
    } else {
      out->set_role("ended");
      out->set_fate(absl::StrCat("did not run out of memory, and ended ", Seconds(first_->end() - r.end()), " before ",
                                 RankName(*first_), " did: look at it, too"));
    }
  }

  // The one to compare with the others: the first to die, else the fullest.
  const RankReport& Worst() const {
    if (first_ != nullptr) return *first_;
    return **std::max_element(ranks_.begin(), ranks_.end(), [](const auto* a, const auto* b) {
      return a->report.peak().bytes() < b->report.peak().bytes();
    });
  }

  void SayWhy() {
    Comparison comparison = CompareRanks(ranks_, Worst());
    for (std::string& reason : comparison.reasons) job_.add_reasons(std::move(reason));
    for (std::string& note : comparison.notes) job_.add_notes(std::move(note));
  }

  void SayWhatIsMissing() {
    const int64_t world = ranks_.front()->world_size;
    const auto missing = world - static_cast<int64_t>(ranks_.size());
    if (missing > 0)
      job_.add_notes(absl::StrCat(missing, " of ", world, " ranks ", missing == 1 ? "has" : "have",
                                  " no trace here: what became of ", missing == 1 ? "it" : "them", " is not known."));
  }

  std::string Summary() const {
    const int64_t world = ranks_.front()->world_size;
    if (first_ == nullptr) {
      const RankReport& worst = Worst();
      return absl::StrCat("No rank of ", world, " ran out of memory in these traces; ", RankName(worst),
                          " came closest: ", Bytes(worst.report.peak().bytes()), " in tensors.");
    }
    std::vector<std::string> victims;
    for (const report::JobRank& rank : job_.ranks())
      if (rank.role() == "victim") victims.push_back(absl::StrCat(rank.rank()));
    const int64_t also = std::count_if(job_.ranks().begin(), job_.ranks().end(),
                                       [](const report::JobRank& rank) { return rank.role() == "out_of_memory"; });
    return absl::StrCat(RankName(*first_), " of ", world,
                        job_.certain() ? " ran out of memory first" : " ran out of memory", " (",
                        first_->report.pattern(), ")",
                        also > 0 ? absl::StrCat("; ", also, also == 1 ? " other did" : " others did", " later") : "",
                        victims.empty() ? ""
                                        : absl::StrCat("; ", victims.size() == 1 ? "rank " : "ranks ",
                                                       absl::StrJoin(victims, ", "), " did not, and went down with it"),
                        ".");
  }

  std::vector<const RankReport*> ranks_;
  const RankReport* first_ = nullptr;
  report::Job job_;
};

bool AreOneJob(const std::vector<RankReport>& reports) {
  std::set<int64_t> ranks, worlds;
  for (const RankReport& r : reports) {
    ranks.insert(r.rank);
    worlds.insert(r.world_size);
  }
  return reports.size() > 1 && ranks.size() == reports.size() && worlds.size() == 1 && *ranks.begin() >= 0 &&
         *worlds.begin() > *ranks.rbegin();
}

}  // namespace

int64_t RankReport::end() const {
  return start + (death >= 0 ? death : static_cast<int64_t>(report.trace().seconds() * 1e9));
}

std::optional<report::Job> MergeReports(const std::vector<RankReport>& reports) {
  if (!AreOneJob(reports)) return std::nullopt;
  return Merger(reports).Merge();
}

}  // namespace oomtrace
