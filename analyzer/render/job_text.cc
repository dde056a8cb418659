#include "analyzer/render/job_text.h"

#include "absl/strings/str_format.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/page.h"

namespace oomtrace {

std::string RenderText(const report::Job& job, const TextOptions& options) {
  Page page(options.color, options.width);
  if (job.first_rank() >= 0) {
    page.Alert(job.summary());
  } else {
    page.Paragraph("", job.summary());
  }
  page.Blank();
  page.Line(absl::StrFormat("  %4s  %-16s %11s %11s %9s  %-14s %s", "rank", "host", "peak", "of card", "of median",
                            "verdict", "ended"));
  for (const report::JobRank& rank : job.ranks()) {
    page.Line(absl::StrFormat("  %4d  %-16s %11s %11s %8.2fx  %-14s %s", rank.rank(), rank.host(), Bytes(rank.peak()),
                              Bytes(rank.device_total()), rank.of_median(), rank.pattern(), rank.ended()));
    page.Paragraph("        ", rank.fate());
  }
  page.Blank();
  for (const std::string& reason : job.reasons()) page.Paragraph("  - ", reason);
  for (const std::string& note : job.notes()) page.Paragraph("  - ", note);
  return page.text();
}

}  // namespace oomtrace
