#include "analyzer/analyze.h"

#include <utility>

#include "analyzer/advise/advise.h"
#include "analyzer/attribute/attribute.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/timeline/timeline_builder.h"

namespace oomtrace {

absl::StatusOr<report::Report> AnalyzeTrace(const std::string& path, const AnalyzeOptions&) {
  absl::StatusOr<Timeline> timeline = ReadTimeline(path);
  if (!timeline.ok()) return timeline.status();
  Attribute(&*timeline);
  Diagnosis diagnosis = Diagnose(*timeline);
  Advise(diagnosis);
  return std::move(diagnosis.report);
}

}  // namespace oomtrace
