#include "analyzer/analyze.h"

#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "analyzer/advise/advise.h"
#include "analyzer/attribute/attribute.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/read/utf8.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {
namespace {

// Launchers set RANK and WORLD_SIZE: torchrun, accelerate, Lightning, DeepSpeed.
void Identify(const TraceReader& reader, RankReport* rank) {
  const trace::Process& process = reader.tables().process;
  rank->host = ToUtf8(process.host());
  rank->start = static_cast<int64_t>(reader.header().start_unix_ns & INT64_MAX);
  for (const std::string& variable : process.environment()) {
    if (variable.starts_with("RANK=") && !absl::SimpleAtoi(variable.substr(5), &rank->rank)) rank->rank = -1;
    if (variable.starts_with("WORLD_SIZE=") && !absl::SimpleAtoi(variable.substr(11), &rank->world_size))
      rank->world_size = 0;
  }
}

}  // namespace

absl::StatusOr<RankReport> AnalyzeRank(const std::string& path, const AnalyzeOptions& options) {
  const absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(path);
  if (!reader.ok()) return reader.status();
  absl::StatusOr<Timeline> timeline = ReadTimeline(reader->get(), {}, PartOf(options.progress, 0, 0.6));
  if (!timeline.ok()) return timeline.status();
  Attribute(&*timeline);
  Diagnosis diagnosis = Diagnose(*timeline, reader->get(), PartOf(options.progress, 0.6, 1));
  Advise(diagnosis);
  RankReport rank;
  Identify(**reader, &rank);
  if (diagnosis.facts.oom != nullptr) rank.death = diagnosis.facts.oom->time;
  rank.report = std::move(diagnosis.report);
  return rank;
}

absl::StatusOr<report::Report> AnalyzeTrace(const std::string& path, const AnalyzeOptions& options) {
  absl::StatusOr<RankReport> rank = AnalyzeRank(path, options);
  if (!rank.ok()) return rank.status();
  return std::move(rank->report);
}

}  // namespace oomtrace
