#include "analyzer/analyze.h"

#include <memory>
#include <utility>

#include "analyzer/advise/advise.h"
#include "analyzer/attribute/attribute.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {

absl::StatusOr<report::Report> AnalyzeTrace(const std::string& path, const AnalyzeOptions& options) {
  const absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(path);
  if (!reader.ok()) return reader.status();
  absl::StatusOr<Timeline> timeline = ReadTimeline(reader->get(), {}, PartOf(options.progress, 0, 0.6));
  if (!timeline.ok()) return timeline.status();
  Attribute(&*timeline);
  Diagnosis diagnosis = Diagnose(*timeline, reader->get(), PartOf(options.progress, 0.6, 1));
  Advise(diagnosis);
  return std::move(diagnosis.report);
}

}  // namespace oomtrace
